package cli

import (
	"bufio"
	"fmt"
	"os"
	"os/user"
	"strings"
)

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
