package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/millstream-es/millstream/es"
)

// observed is what is asked of Prometheus somewhere in deploy/.
type observed struct{ where, query string }

// series are the labels, and their values, of every metric by name.
type series map[string]map[string][]string

var (
	sampleLine = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? `)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
	metricName = regexp.MustCompile(`\b(?:millstream|process|go)_[a-z_]+\b|\bup\b`)
	selector   = regexp.MustCompile(`([a-z_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)(=~|=)"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|on|without) ?\(([^)]*)\)`)
)

// target are the labels that Prometheus adds by itself.
var target = []string{"instance", "job"}

func get(ctx context.Context, url string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func readSeries(text string) series {
	found := series{"up": {}}
	for line := range strings.Lines(text) {
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if found[m[1]] == nil {
			found[m[1]] = map[string][]string{}
		}
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			found[m[1]][pair[1]] = append(found[m[1]][pair[1]], pair[2])
		}
	}
	return found
}

// unknown is what a query asks for and no process says.
func (s series) unknown(q observed) (missing []string) {
	labels := map[string]bool{}
	for _, name := range target {
		labels[name] = true
	}
	for _, name := range metricName.FindAllString(q.query, -1) {
		if s[name] == nil {
			missing = append(missing, fmt.Sprintf("%s: there is no metric %s", q.where, name))
		}
		for label := range s[name] {
			labels[label] = true
		}
	}
	for _, sel := range selector.FindAllStringSubmatch(q.query, -1) {
		for _, m := range matcher.FindAllStringSubmatch(sel[2], -1) {
			if slices.Contains(target, m[1]) {
				continue
			}
			values, known := s[sel[1]][m[1]], s[sel[1]] != nil
			if m[1] == "outcome" {
				values = append(values, string(es.Failed), string(es.UnknownOutcome)) // nothing has failed here
			}
			if known && !slices.Contains(values, m[3]) {
				missing = append(missing, fmt.Sprintf("%s: %s has no label %s with the value %q", q.where, sel[1], m[1], m[3]))
			}
		}
	}
	for _, group := range grouping.FindAllStringSubmatch(q.query, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			if label = strings.TrimSpace(label); !labels[label] {
				missing = append(missing, fmt.Sprintf("%s: none of its metrics has the label %s", q.where, label))
			}
		}
	}
	return missing
}

// alerts reads the rules, and holds their runbooks against the documentation.
func alerts(t *testing.T) (queries []observed) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	read(t, "../../deploy/prometheus/alerts.yml", func(data []byte) error { return yaml.Unmarshal(data, &file) })
	anchors := anchorsOf(t, "../../docs/observe.md")
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			queries = append(queries, observed{r.Alert, r.Expr})
			book, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
			if !strings.HasSuffix(book, "/docs/observe.md") || !anchors[anchor] {
				t.Errorf("alert %s: docs/observe.md has no heading for %q", r.Alert, r.Annotations["runbook_url"])
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("alert %s has no severity or no summary", r.Alert)
			}
		}
	}
	if len(queries) < 8 {
		t.Errorf("%d alerts", len(queries))
	}
	return queries
}

func anchorsOf(t *testing.T, file string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	read(t, file, func(data []byte) error {
		for line := range strings.Lines(string(data)) {
			if title := strings.TrimLeft(line, "#"); title != line {
				found[strings.ReplaceAll(strings.ToLower(strings.TrimSpace(title)), " ", "-")] = true
			}
		}
		return nil
	})
	return found
}

func dashboard(t *testing.T) (queries []observed) {
	t.Helper()
	var board struct {
		Panels []struct {
			Title, Type string
			Targets     []struct{ Expr, LegendFormat string }
		}
	}
	read(t, "../../deploy/grafana/millstream.json", func(data []byte) error { return json.Unmarshal(data, &board) })
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, q := range p.Targets {
			queries = append(queries, observed{"panel " + p.Title, q.Expr})
		}
	}
	return queries
}

func read(t *testing.T, file string, parse func([]byte) error) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = parse(data)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestDashboardAndAlertsAskForWhatExists holds deploy/ against the metrics of a running process, which answers on its
// admin port, too.
func TestDashboardAndAlertsAskForWhatExists(t *testing.T) {
	t.Parallel()
	admin := freeAddress(t)
	p := dev(t, t.TempDir(), "--durability", "durable", "--admin", admin)
	response, err := http.Post(p.HTTP+"/customers/c-1/register-customer", "application/json", strings.NewReader(`{"name":"Ada","email":"ada@example.org"}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	queries := append(alerts(t), dashboard(t)...)
	// The sagas are counted in the background.
	err = eventually(patience, func() error {
		status, text, err := get(t.Context(), "http://"+admin+"/metrics")
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("metrics: %d %w", status, err)
		}
		found := readSeries(text)
		var missing []string
		for _, q := range queries {
			missing = append(missing, found.unknown(q)...)
		}
		if len(missing) > 0 {
			return fmt.Errorf("%s", strings.Join(missing, "\n"))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for path, at := range map[string]string{"/readyz": `"name":"server","ok":true`, "/debug/pprof/goroutine?debug=1": "goroutine profile"} {
		if status, text, err := get(t.Context(), "http://"+admin+path); err != nil || status != http.StatusOK || !strings.Contains(text, at) {
			t.Errorf("admin port, %s: %d %.200s %v", path, status, text, err)
		}
	}
	if status, _, err := get(t.Context(), p.HTTP+"/debug/pprof/"); err != nil || status != http.StatusNotFound {
		t.Errorf("pprof at the HTTP door: %d %v", status, err)
	}
}

func TestTheAdminPortIsForThisMachine(t *testing.T) {
	t.Parallel()
	_, complaints, code := run(t, "millstream", "serve", "--admin", "0.0.0.0:0")
	if code != 2 || !strings.Contains(complaints, "--admin-open") {
		t.Errorf("exit code %d: %s", code, complaints)
	}
}

// TestAPageCannotReachWhatAsksNobody asks as a page does whose own name leads to this machine.
func TestAPageCannotReachWhatAsksNobody(t *testing.T) {
	t.Parallel()
	admin := freeAddress(t)
	p := dev(t, t.TempDir(), "--admin", admin)
	for _, url := range []string{p.HTTP + "/orders", "http://" + admin + "/debug/pprof/heap"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "shop.example"
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s by another name: %s", url, response.Status)
		}
	}
}
