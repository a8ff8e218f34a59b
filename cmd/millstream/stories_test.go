package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestStories runs testdata/*.txtar: the real binary and the stock nats CLI, as a user types them. Commands beside
// testscript's own:
//
//	start [FLAG…]            millstream dev on free ports and $WORK/data; sets $NATS_URL and $HTTP, and
//	                         $NATS_ADDRESS and $HTTP_ADDRESS without the scheme
//	kill9 and end            stop it: at once, or by SIGTERM with exit code 0 (`stop` is testscript's own: it ends the story)
//	waitfor PATH NAME=VALUE… asks $HTTP/PATH until each field (a/0/b for nested ones, a/length of a list) has its value
//	fill FILE BYTES          writes a JSON object of that size
//	json FILE NAME=VALUE…    the same of a file, or of stdout
func TestStories(t *testing.T) {
	if _, err := exec.LookPath("nats"); err != nil {
		const how = "the stories need the nats CLI: go install -C tools github.com/nats-io/natscli/nats"
		if os.Getenv("CI") != "" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":   start,
			"kill9":   end((*process).kill),
			"end":     end((*process).stop),
			"waitfor": waitFor,
			"json":    checkJSON,
			"fill":    fill,
		},
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("HOME", home)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
			e.Setenv("NO_COLOR", "1")
			e.Values[key{}] = &story{}
			return os.MkdirAll(home, 0o700)
		},
	})
}

type key struct{}

// story is what a script has running.
type story struct{ node *process }

func storyOf(ts *testscript.TestScript) *story {
	s, _ := ts.Value(key{}).(*story)
	return s
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	p, err := launchNode(nil, append([]string{"dev", "--data", ts.MkAbs("data"), "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)...)
	if neg {
		ts.Fatalf("start cannot be expected to fail: use exec millstream")
	}
	ts.Check(err)
	ts.Defer(func() {
		if err := p.kill(); err != nil {
			ts.Logf("kill: %v", err)
		}
		ts.Logf("what millstream said:\n%s", p.log)
	})
	s.node = p
	ts.Setenv("NATS_URL", p.NATS)
	ts.Setenv("HTTP", p.HTTP)
	ts.Setenv("NATS_ADDRESS", strings.TrimPrefix(p.NATS, "nats://"))
	ts.Setenv("HTTP_ADDRESS", strings.TrimPrefix(p.HTTP, "http://"))
}

func end(how func(*process) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, _ []string) {
		p := storyOf(ts).node
		if p == nil {
			ts.Fatalf("nothing was started")
		}
		ts.Check(how(p))
	}
}

func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: waitfor PATH NAME=VALUE…")
	}
	ts.Check(eventually(patience, func() error {
		var answer any
		if err := getJSON(ts.Getenv("HTTP")+args[0], &answer); err != nil {
			return err
		}
		return matches(answer, args[1:])
	}))
}

func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	var found any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &found); err != nil {
		ts.Fatalf("%s is no JSON: %v\n%s", args[0], err, ts.ReadFile(args[0]))
	}
	err := matches(found, args[1:])
	if neg == (err == nil) {
		ts.Fatalf("json %s: %v\n%s", strings.Join(args, " "), err, ts.ReadFile(args[0]))
	}
}

func fill(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	const frame = `{"name":""}`
	text := strings.Replace(frame, `""`, `"`+strings.Repeat("x", size-len(frame))+`"`, 1)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// matches compares fields, given as a/0/b=value, with the text of what is there.
func matches(found any, fields []string) error {
	var errs []error
	for _, f := range fields {
		path, want, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("%q: expected NAME=VALUE", f)
		}
		if got := at(found, strings.Split(path, "/")); got != want {
			errs = append(errs, fmt.Errorf("%s is %q, not yet %q", path, got, want))
		}
	}
	if len(errs) > 0 {
		text, err := json.Marshal(found)
		errs = append(errs, err, fmt.Errorf("in %.600s", text))
	}
	return errors.Join(errs...)
}

func at(v any, path []string) string {
	for _, step := range path {
		switch in := v.(type) {
		case map[string]any:
			v = in[step]
		case []any:
			if step == "length" {
				return strconv.Itoa(len(in))
			}
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(in) {
				return ""
			}
			v = in[i]
		default:
			return ""
		}
	}
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}
