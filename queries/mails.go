package queries

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Mail is one mail about an order. Each order has at most one of each kind.
type Mail struct {
	OrderID     string      `json:"orderId"`
	Kind        string      `json:"kind" jsonschema:"enum=confirmation,enum=shipped,enum=cancelled"`
	Status      string      `json:"status" jsonschema:"enum=REQUESTED,enum=SENT,enum=FAILED"`
	CustomerID  string      `json:"customerId"`
	OrderNumber string      `json:"orderNumber"`
	To          string      `json:"to"`
	Name        string      `json:"name"`
	MessageID   string      `json:"messageId"` // empty: not sent
	Reason      string      `json:"reason"`    // of the failure
	RequestedAt time.Time   `json:"requestedAt"`
	UpdatedAt   time.Time   `json:"updatedAt"`
	Revision    es.Revision `json:"revision"` // of the mail's last event
}

// Outbox is a page of mails, newest first.
type Outbox struct {
	Items      []Mail `json:"items"`
	NextCursor string `json:"nextCursor,omitempty"` // absent: this was the last page
}

// MailListParams narrows the outbox.
type MailListParams struct {
	OrderID string `json:"orderId,omitempty"`
	Status  string `json:"status,omitempty" jsonschema:"enum=REQUESTED,enum=SENT,enum=FAILED"`
	Cursor  string `json:"cursor,omitempty"`
	Limit   int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// ErrMailNotFound: no mail about this order, or the read model does not show it yet.
var ErrMailNotFound = es.NotFound("mail_not_found", "no mail about this order")

// MailList is the mails that match, newest first.
var MailList = es.Query[MailListParams, Outbox]{
	Name:      "mails",
	Path:      "/mails",
	Summary:   "Mails to customers and what became of them, newest first, by order and status",
	Projector: "mails",
	Ask:       listMails,
}

var mailStatuses = []string{"REQUESTED", "SENT", "FAILED"}

const mailCursor = "mail"

func listMails(ctx context.Context, db es.Reader, p MailListParams) (Outbox, error) {
	limit, err := pageSize(p.Limit)
	if err != nil {
		return Outbox{}, err
	}
	before, err := newestFirst(p.Cursor, mailCursor, 2)
	if err != nil {
		return Outbox{}, err
	}
	where, args := `(requested_at, order_id, kind) < (?, ?, ?)`, []any{before[0], before[1], before[2]}
	if p.OrderID != "" {
		if err := checkID(p.OrderID, "orderId"); err != nil {
			return Outbox{}, err
		}
		where, args = where+` AND order_id = ?`, append(args, p.OrderID)
	}
	if p.Status != "" {
		if !slices.Contains(mailStatuses, p.Status) {
			return Outbox{}, &es.InvalidError{Code: "schema", Message: fmt.Sprintf("status must be one of %s, found %q", strings.Join(mailStatuses, ", "), p.Status), Pointer: "/status"}
		}
		where, args = where+` AND status = ?`, append(args, p.Status)
	}
	found, err := readAll(ctx, db, scanMail, `SELECT order_id, kind, status, customer_id, order_number, address, name, message_id, reason,
			requested_at, updated_at, revision FROM mails
		WHERE `+where+` ORDER BY requested_at DESC, order_id DESC, kind DESC LIMIT ?`, append(args, limit+1)...)
	if err != nil {
		return Outbox{}, err
	}
	items, next := page(found, limit, Mail.Cursor)
	return Outbox{Items: items, NextCursor: next}, nil
}

func scanMail(row scanner) (Mail, error) {
	var m Mail
	var requested, updated string
	err := row.Scan(&m.OrderID, &m.Kind, &m.Status, &m.CustomerID, &m.OrderNumber, &m.To, &m.Name, &m.MessageID, &m.Reason,
		&requested, &updated, &m.Revision)
	if err != nil {
		return Mail{}, err
	}
	if m.RequestedAt, err = readTime(requested); err != nil {
		return Mail{}, err
	}
	m.UpdatedAt, err = readTime(updated)
	return m, err
}
