package gateways

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/millstream-es/millstream/es"
)

const (
	maxAnswer = 64 << 10 // bytes of an answer that are read
	maxShown  = 200      // bytes of an answer that an error shows
	maxID     = 200      // bytes of a transaction's or refund's id
)

// declined is a status in the answer, and the reason when the answer gives none.
const declined = "declined"

// httpProvider speaks JSON to a provider:
//
//	POST {url}/payments → 2xx {"transactionId":"…"}
//	POST {url}/refunds  → 2xx {"refundId":"…"}
//	402, or {"status":"declined"}: declined, with {"reason":"…"}
//
// Each request carries Idempotency-Key. 408, 425, 429, 5xx and silence are transient, any other answer is permanent.
type httpProvider struct {
	url    string
	bearer string
}

type answer struct {
	TransactionID string `json:"transactionId"`
	RefundID      string `json:"refundId"`
	Status        string `json:"status"`
	Reason        string `json:"reason"`
}

// A redirect is an answer like any other: following it would hand the token to an address nobody configured.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (p httpProvider) charge(ctx context.Context, key string, c charge) (receipt, error) {
	a, err := p.post(ctx, "payments", key, c, c.Token)
	if err != nil {
		return receipt{}, err
	}
	return a.receipt("transactionId", a.TransactionID)
}

func (p httpProvider) refund(ctx context.Context, key string, r refund) (receipt, error) {
	a, err := p.post(ctx, "refunds", key, r)
	if err != nil {
		return receipt{}, err
	}
	return a.receipt("refundId", a.RefundID)
}

func (a answer) receipt(field, id string) (receipt, error) {
	switch {
	case a.Status == declined:
		return receipt{declined: a.Reason}, nil
	case strings.TrimSpace(id) == "" || len(id) > maxID:
		return receipt{}, es.Permanent(fmt.Errorf("the payment provider accepted, but %s must have 1 to %d bytes and has %d", field, maxID, len(id)))
	}
	return receipt{id: id}, nil
}

// post asks once. secrets are taken out of whatever an error shows.
func (p httpProvider) post(ctx context.Context, path, key string, body any, secrets ...string) (answer, error) {
	to, err := url.Parse(p.url)
	if err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return answer{}, es.Permanent(errors.New("the payment provider's URL (--payment-url) must look like https://host/path"))
	}
	data, err := json.Marshal(body)
	if err != nil {
		return answer{}, es.Permanent(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.JoinPath(path).String(), bytes.NewReader(data))
	if err != nil {
		return answer{}, es.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Idempotency-Key", key)
	if p.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+p.bearer)
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, es.Transient(fmt.Errorf("the payment provider does not answer: %w", err))
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{}, es.Transient(fmt.Errorf("the payment provider's answer (%s) broke off: %w", res.Status, err))
	}
	return read(res, text, append(secrets, p.bearer))
}

func read(res *http.Response, text []byte, secrets []string) (answer, error) {
	said := func() error {
		return fmt.Errorf("the payment provider answered %s: %s", res.Status, shown(string(text), secrets))
	}
	var a answer
	malformed := json.Unmarshal(text, &a)
	switch code := res.StatusCode; {
	case code == http.StatusPaymentRequired, code < 500 && malformed == nil && a.Status == declined:
		return answer{Status: declined, Reason: cmp.Or(strings.TrimSpace(shown(a.Reason, secrets)), declined)}, nil
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return answer{}, es.Transient(said())
	case code < 200 || code > 299:
		return answer{}, es.Permanent(said())
	case malformed != nil:
		return answer{}, es.Permanent(errors.Join(said(), malformed))
	}
	return a, nil
}

// shown clips an answer and takes the secrets out, which a provider may echo.
func shown(text string, secrets []string) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}
