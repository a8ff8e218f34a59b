package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
)

// recorded is who acts and why, at every verb by which operators act.
type recorded struct {
	By     string `placeholder:"WHO" help:"Who does this, for the record; default: you, on this machine."`
	Reason string `placeholder:"TEXT" help:"Why, for the record."`
}

func (r recorded) by() string { return cmp.Or(r.By, whoami()) }

// needReason refuses to do what the record must explain.
func (r recorded) needReason(d danger, doing, because string) error {
	if !d.DryRun && strings.TrimSpace(r.Reason) == "" {
		return usageError{fmt.Errorf("%s needs --reason: %s", doing, because)}
	}
	return nil
}

// danger is what every verb has that destroys something or cannot be undone.
type danger struct {
	DryRun bool `help:"Only say what would be done."`
	Yes    bool `help:"Do not ask."`
}

// dryRun is what --dry-run prints as JSON.
type dryRun struct {
	DryRun bool   `json:"dryRun"`
	Would  string `json:"would"`
}

// errDry ends a verb that was only to say what it would do, and has said it.
var errDry = errors.New("dry run")

// allow lets a verb go on that will do something, once that is confirmed by the word typed. errDry: it was only to be
// said.
func (d danger) allow(a *app, asJSON bool, will, word string) error {
	if !d.DryRun {
		return a.confirm(d.Yes, will, word)
	}
	var err error
	if asJSON {
		err = a.printJSON(dryRun{true, will})
	} else {
		_, err = fmt.Fprintf(a.stdout, "dry run: %s\n", will)
	}
	return cmp.Or(err, errDry)
}

// confirm asks for a word to be typed before something that is hard to undo. Where nobody can be asked it refuses.
func (a *app) confirm(yes bool, what, word string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) {
		return usageError{fmt.Errorf("%s Nobody can be asked here: add --yes", what)}
	}
	if _, err := fmt.Fprintf(a.stderr, "%s\nType %s to go on: ", what, word); err != nil {
		return err
	}
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != word {
		return codedError{exitFailure, fmt.Errorf("%q was typed, not %q: nothing was done", strings.TrimSpace(line), word)}
	}
	return nil
}

// whoami is who sits at this machine, as far as it knows.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
