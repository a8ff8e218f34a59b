package opsdoor_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/api/access"
)

func TestASagaIsWatchedAndGivenUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i, id := range []string{"j-1", "j-2"} {
		s.fill(id, 3)
		s.eventually("the sitter of "+id, "/ops/timers", func(a map[string]any) bool { return at(a, "total") == float64(i+1) })
	}
	list := s.get("/ops/sagas?saga=sitter&state=open&limit=1")
	if at(list, "total") != 2.0 || at(list, "items", 0, "key") != "j-2" || at(list, "next") == nil {
		t.Errorf("the first page: %v", list)
	}
	if second := s.get("/ops/sagas?saga=sitter&state=open&limit=1&cursor=" + at(list, "next").(string)); at(second, "items", 0, "key") != "j-1" || at(second, "next") != nil {
		t.Errorf("the second page: %v", second)
	}
	one := s.get("/ops/sagas/sitter/j-1")
	if at(one, "waiting", 0, "for") != "the end of the watch" || at(one, "waiting", 0, "then") != "goes home" || length(one["timeline"]) != 1 || one["cancellable"] != true {
		t.Errorf("one: %v", one)
	}
	why := s.get("/ops/why/jars/j-1")
	words, _ := why["words"].(string)
	if !strings.HasPrefix(words, "FULL; sitter waits for the end of the watch since ") || !strings.HasSuffix(words, "; allowed now: Fill, Pour") {
		t.Errorf("why: %s", words)
	}

	const cancel = "/ops/sagas/sitter/j-1/cancel"
	s.refused(http.MethodPost, cancel, `{"confirm":"j-1"}`, 422, "reason_needed")
	s.refused(http.MethodPost, cancel, `{"reason":"rain","confirm":"j-2"}`, 422, "confirm_needed")
	s.refused(http.MethodPost, cancel, `{"reason":"rain","confrm":"j-1"}`, 400, "malformed")
	if status, a := s.ask(access.Operator, http.MethodPost, cancel, `{"reason":"rain","confirm":"j-1"}`); status != 403 || at(a, "error", "code") != "denied" {
		t.Errorf("an operator cancels: %d %v", status, a)
	}
	if status, a := s.ask(access.Admin, http.MethodPost, cancel, `{"reason":"rain","confirm":"j-1"}`); status != 200 || a["state"] != "done" {
		t.Fatalf("an admin cancels: %d %v", status, a)
	}
	if state := s.get("/ops/why/jars/j-1")["status"]; state != "EMPTY" {
		t.Errorf("the jar is %v", state)
	}
	s.refused(http.MethodPost, cancel, `{"reason":"rain","confirm":"j-1"}`, 409, "saga_done")
	s.refused(http.MethodPost, "/ops/sagas/sitter/j-9/retry", ``, 404, "saga_not_found")
	s.refused(http.MethodPost, "/ops/sagas/siter/j-1/retry", ``, 404, "unknown_saga")
	if status, a := s.ask(access.Operator, http.MethodPost, "/ops/sagas/sitter/j-2/retry", `{"reason":"to see"}`); status != 200 || a["state"] != "open" {
		t.Errorf("an operator retries: %d %v", status, a)
	}
	audit := s.get("/ops/audit?what=sagas")
	if length(audit["items"]) != 3 || at(audit, "items", 2, "kind") != "cancel" || at(audit, "items", 2, "by") != "ada" || at(audit, "items", 2, "reason") != "rain" || at(audit, "items", 0, "on") != "sitter/j-2" {
		t.Errorf("audit: %v", audit)
	}
}

func TestAProjectorIsOperated(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill("j-1", 3)
	do := func(verb, body string, want int) map[string]any {
		t.Helper()
		status, a := s.ask(access.Admin, http.MethodPost, "/ops/projections/jars/"+verb, body)
		if status != want {
			t.Errorf("%s %s: %d %v, want %d", verb, body, status, a, want)
		}
		return a
	}
	if a := do("pause", `{"reason":"a look"}`, 200); at(a, "items", 0, "state") != "paused" || at(a, "items", 0, "paused", "by") != "ada" {
		t.Errorf("paused: %v", a)
	}
	do("pause", `{"skip":3}`, 400)
	if a := do("resume", ``, 200); at(a, "items", 0, "state") != "running" {
		t.Errorf("resumed: %v", a)
	}
	if a := do("rebuild", `{"reason":"to be sure"}`, 202); a["status"] != "/ops/projections/jars" {
		t.Errorf("rebuild: %v", a)
	}
	s.eventually("the rebuild on record", "/ops/projections/jars", func(a map[string]any) bool {
		return at(a, "actions", 0, "kind") == "rebuild" && at(a, "nodes", 0, "work") == nil
	})
	do("verify", ``, 202)
	s.eventually("the verdict", "/ops/projections/jars", func(a map[string]any) bool {
		return at(a, "actions", 0, "kind") == "verify" && at(a, "actions", 0, "state") == "equal" && at(a, "nodes", 0, "verdict", "revision") == 1.0
	})

	s.fill("j-2", 13)
	halted := s.eventually("the halt", "/ops/projections/jars", func(a map[string]any) bool { return at(a, "nodes", 0, "state") == "halted" })
	skip := fmt.Sprintf(`{"skip":%v,"reason":"13","confirm":"jars"}`, at(halted, "nodes", 0, "haltedAt"))
	if status, a := s.ask(access.Operator, http.MethodPost, "/ops/projections/jars/resume", skip); status != 403 {
		t.Errorf("an operator skips: %d %v", status, a)
	}
	do("resume", strings.Replace(skip, `"confirm":"jars"`, `"confirm":""`, 1), 422)
	if a := do("resume", skip, 200); at(a, "items", 0, "state") != "running" {
		t.Errorf("skipped: %v", a)
	}
	s.refused(http.MethodPost, "/ops/projections/jars/rollback", `{"reason":"older"}`, 422, "confirm_needed")
	do("rollback", `{"reason":"older","confirm":"jars"}`, 409) // there is no older one
	s.refused(http.MethodPost, "/ops/projections/pots/pause", ``, 404, "unknown_projector")
	s.refused(http.MethodGet, "/ops/projections/pots", ``, 404, "unknown_projector")
	if a := s.get("/ops/projections"); length(a["items"]) != 1 {
		t.Errorf("all: %v", a)
	}
}

func TestDeadLettersAreMended(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 4 {
		if _, err := s.js.Publish(t.Context(), fmt.Sprintf("commands.jar.j-%d.Fil", i), []byte(`{"by":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	all := s.eventually("four letters", "/ops/deadletters?consumer=commands&state=parked", func(a map[string]any) bool { return at(a, "total") == 4.0 })
	seen := map[any]bool{}
	for cursor := ""; ; {
		page := s.get("/ops/deadletters?limit=3&cursor=" + cursor)
		for i := range length(page["items"]) {
			seen[at(page, "items", i, "id")] = true
		}
		next, more := page["next"].(string)
		if !more {
			break
		}
		cursor = next
	}
	if len(seen) != 4 {
		t.Errorf("the pages show %v", seen)
	}
	id := func(i int) string { return at(all, "items", i, "id").(string) }
	if one := s.get("/ops/deadletters/" + id(0)); at(one, "data", "by") != 1.0 {
		t.Errorf("one: %v", one)
	}
	const others = "admin deadletters.read:gateway-mail deadletters.operate:gateway-mail deadletters.force:gateway-mail"
	for path, body := range map[string]string{
		"": "", id(0): "", id(0) + "/retry": "{}", id(0) + "/resend": `{"command":"Fill"}`, id(0) + "/drop": "{}",
		"retry": `{"ids":["` + id(0) + `"]}`, "drop": `{"ids":["` + id(0) + `"]}`,
	} {
		method := http.MethodPost
		if body == "" {
			method = http.MethodGet
		}
		if status, a := s.ask(others, method, strings.TrimSuffix("/ops/deadletters/"+path, "/"), body); status != 403 {
			t.Errorf("%s with the scopes of another consumer: %d %v", path, status, a)
		}
	}
	if status, a := s.ask("viewer deadletters.read:commands", http.MethodGet, "/ops/deadletters/"+id(0), ""); status != 403 {
		t.Errorf("a scope widens a role: %d %v", status, a)
	}
	if status, a := s.ask("operator deadletters.read:commands", http.MethodGet, "/ops/deadletters/"+id(0), ""); status != 200 {
		t.Errorf("with the scope of its consumer: %d %v", status, a)
	}
	s.refused(http.MethodPost, "/ops/deadletters/"+id(0)+"/retry", ``, 409, "failed_again")
	s.refused(http.MethodPost, "/ops/deadletters/ms-none/retry", ``, 404, "dead_letter_not_found")
	s.refused(http.MethodPost, "/ops/deadletters/"+id(0)+"/resend", `{"reason":"a typo"}`, 400, "bad_request")
	if status, a := s.ask(access.Operator, http.MethodPost, "/ops/deadletters/"+id(0)+"/resend", `{"reason":"a typo","command":"Fill"}`); status != 200 || at(a, "results", 0, "state") != "resent" {
		t.Errorf("resent: %d %v", status, a)
	}
	s.refused(http.MethodPost, "/ops/deadletters/"+id(1)+"/drop", `{"reason":"gone"}`, 422, "confirm_needed")
	if status, a := s.ask(access.Admin, http.MethodPost, "/ops/deadletters/"+id(1)+"/drop", `{"reason":"gone","confirm":"`+id(1)+`"}`); status != 200 || at(a, "results", 0, "state") != "dropped" {
		t.Errorf("dropped: %d %v", status, a)
	}
	many := `{"ids":["` + id(2) + `","` + id(3) + `"],"reason":"gone"`
	if status, a := s.ask(access.Operator, http.MethodPost, "/ops/deadletters/retry", many+`}`); status != 200 || length(a["results"]) != 2 || at(a, "results", 0, "error") == nil {
		t.Errorf("many retried: %d %v", status, a)
	}
	s.refused(http.MethodPost, "/ops/deadletters/drop", many+`}`, 422, "confirm_needed")
	if status, a := s.ask(access.Admin, http.MethodPost, "/ops/deadletters/drop", many+`,"confirm":"drop 2"}`); status != 200 || length(a["results"]) != 2 {
		t.Errorf("many dropped: %d %v", status, a)
	}
	s.refused(http.MethodPost, "/ops/deadletters/drop", `{"reason":"gone"}`, 400, "bad_request")
	if left := s.get("/ops/deadletters"); at(left, "total") != 0.0 || length(left["items"]) != 0 {
		t.Errorf("left: %v", left)
	}
	if audit := s.get("/ops/audit?by=ada&limit=2"); length(audit["items"]) != 2 || at(audit, "items", 0, "what") != "deadletters" || audit["next"] == nil {
		t.Errorf("audit: %v", audit)
	}
}

func TestWhatThereIsToSee(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill("j-1", 1)
	s.eventually("the projector", "/ops/overview", func(a map[string]any) bool {
		return at(a, "projectors", 0, "lag") == 0.0 && at(a, "events", "total") == 1.0
	})
	if o := s.get("/ops/overview"); at(o, "commands", "total", "accepted") != 1.0 || o["durability"] != "fast" || at(o, "sagas", 0, "saga") != "sitter" || o["node"] == "" {
		t.Errorf("overview: %v", o)
	}
	if a := s.get("/ops/schemas"); length(a["events"]) != 2 || length(a["commands"]) != 2 || at(a, "commands", 0, "example", "by") != 1.0 || at(a, "commands", 0, "collection") != "jars" {
		t.Errorf("schemas: %v", a)
	}
	if a := s.get("/ops/history/jars/j-1"); at(a, "total") != 1.0 || at(a, "items", 0, "type") != "Filled" || at(a, "items", 0, "commandId") != "fill-j-1" {
		t.Errorf("history: %v", a)
	}
	s.eventually("the story", "/ops/trace/story-j-1", func(a map[string]any) bool {
		return at(a, "roots", 0, "children", 0, "children", 0, "kind") == "transition"
	})
	if status, a := s.ask(access.Admin, http.MethodPost, "/jars/j-1/fill", `{"by":1}`); status != 200 {
		t.Fatalf("%d %v", status, a)
	}
	s.eventually("the snapshot", "/ops/snapshots?category=jar", func(a map[string]any) bool { return length(a["items"]) == 1 })
	if a := s.get("/ops/snapshots/jars/j-1"); a["fits"] != true || at(a, "state", "level") != 2.0 {
		t.Errorf("snapshot: %v", a)
	}
	s.refused(http.MethodPost, "/ops/snapshots/jars/j-1/drop", `{"reason":"odd"}`, 422, "confirm_needed")
	if status, a := s.ask(access.Admin, http.MethodPost, "/ops/snapshots/jars/j-1/drop", `{"reason":"odd","confirm":"j-1"}`); status != 200 {
		t.Errorf("drop: %d %v", status, a)
	}
	s.refused(http.MethodGet, "/ops/snapshots/jars/j-1", ``, 404, "snapshot_not_found")
	for path, code := range map[string]string{
		"/ops/history/jars/none": "jar_not_found", "/ops/history/pots/j-1": "unknown_collection", "/ops/why/jars/none": "jar_not_found",
		"/ops/trace/none": "correlation_not_found", "/ops/sagas/sitter/none": "saga_not_found", "/ops/deadletters/ms-none": "dead_letter_not_found",
	} {
		s.refused(http.MethodGet, path, ``, 404, code)
	}
	for _, path := range []string{
		"/ops/sagas?state=lost", "/ops/sagas?limit=0", "/ops/sagas?limit=501", "/ops/sagas?cursor=x", "/ops/sagas?page=2", "/ops/audit?cursor=x",
		"/ops/deadletters?state=dropped", "/ops/deadletters?cursor=5", "/ops/trace/story-j-1?since=yesterday", "/ops/history/jars/j-1?cursor=-1",
	} {
		s.refused(http.MethodGet, path, ``, 400, "bad_request")
	}
}

// TestEveryRouteAsksWhoIsCalling goes over the routes as nobody, as somebody with the role below the one that the
// route's operation takes, and with that role.
func TestEveryRouteAsksWhoIsCalling(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	below := map[access.Role]access.Role{access.Operator: access.Viewer, access.Admin: access.Operator}
	for _, m := range s.door.Mounts() {
		path := m.Pattern
		for name, value := range map[string]string{"{name}": "none", "{saga}": "none", "{key}": "none", "{id}": "none", "{collection}": "none", "{correlation}": "none"} {
			path = strings.ReplaceAll(path, name, value)
		}
		need := access.Rules[m.Operation]
		if need == "" || m.Summary == "" {
			t.Errorf("%s %s: operation %q needs role %q; summary %q", m.Method, m.Pattern, m.Operation, need, m.Summary)
		}
		if status, _ := s.ask("", m.Method, path, ""); status != 401 {
			t.Errorf("nobody: %s %s is answered with %d", m.Method, path, status)
		}
		if less, ok := below[need]; ok {
			if status, _ := s.ask(less, m.Method, path, ""); status != 403 {
				t.Errorf("%s: %s %s is answered with %d", less, m.Method, path, status)
			}
		}
		if status, a := s.ask(need, m.Method, path, ""); status == 401 || status == 403 || status >= 500 {
			t.Errorf("%s: %s %s is answered with %d %v", need, m.Method, path, status, a)
		}
	}
}
