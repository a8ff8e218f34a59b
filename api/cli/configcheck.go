package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Report every fault of a verb's settings at once, and run nothing."`
	Print configPrintCmd `cmd:"" help:"Print every setting of a verb with where it is from; secrets are not shown."`
}

type configCheckCmd struct {
	JSON bool     `name:"json" help:"Print JSON; goes before the verb."`
	Verb []string `arg:"" optional:"" passthrough:"" placeholder:"VERB" help:"The verb with its flags. Default: serve."`
}

// Help is kong's text below the usage.
func (configCheckCmd) Help() string {
	return `Flags, environment and configuration file are read as the verb would read them. Exit code 2: something is wrong.

  millstream config check serve --config /etc/millstream.yaml`
}

// verdict is what check prints as JSON.
type verdict struct {
	Verb   string   `json:"verb"`
	OK     bool     `json:"ok"`
	Faults []string `json:"faults,omitempty"`
}

// Run is called by kong.
func (c *configCheckCmd) Run(ctx context.Context, a *app, outer *Config) error {
	verb, _, err := a.effective(ctx, outer, c.Verb)
	switch {
	case c.JSON && err != nil:
		if err := a.printJSON(verdict{Verb: verb, Faults: strings.Split(err.Error(), "\n")}); err != nil {
			return err
		}
		return silentError(exitUsage)
	case c.JSON:
		return a.printJSON(verdict{Verb: verb, OK: true})
	case err != nil:
		return usageError{err}
	}
	_, err = fmt.Fprintf(a.stdout, "the settings of %s are sound\n", verb)
	return err
}

type configPrintCmd struct {
	JSON bool     `name:"json" help:"Print JSON; goes before the verb."`
	Verb []string `arg:"" optional:"" passthrough:"" placeholder:"VERB" help:"The verb with its flags. Default: serve."`
}

// Help is kong's text below the usage.
func (configPrintCmd) Help() string {
	return `A flag wins over the environment, the environment over the configuration file, the file over the default.

  millstream config print dev --http 127.0.0.1:8081
  millstream config print --json serve`
}

// Run is called by kong.
func (c *configPrintCmd) Run(ctx context.Context, a *app, outer *Config) error {
	_, found, err := a.effective(ctx, outer, c.Verb)
	if err != nil {
		return usageError{err}
	}
	if c.JSON {
		return a.printJSON(found)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
	for _, s := range found {
		text, err := s.text()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, text, s.From)
	}
	return w.Flush()
}

// setting is one of a verb's settings as it takes effect.
type setting struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
	From  string `json:"from"` // flag, default, an environment variable, or FILE: KEY
}

func (s setting) text() (string, error) {
	data, err := json.Marshal(s.Value)
	text := string(data)
	switch text {
	case `""`, "null", "[]", "{}":
		text = "-"
	default:
		if is, ok := s.Value.(string); ok {
			text = is
		}
	}
	return text, err
}

// effective reads a verb's settings without running it. The error has every fault.
func (a *app) effective(ctx context.Context, outer *Config, args []string) (verb string, found []setting, err error) {
	if len(args) == 0 {
		args = []string{"serve"}
	}
	if outer.File != "" {
		args = append([]string{"--config=" + outer.File}, args...)
	}
	config, settings := &Config{}, a.settings()
	parser, err := a.parser(ctx, config, settings)
	if err != nil {
		return "", nil, err
	}
	var selected *kong.Context
	exited := -1
	func() {
		defer catch(&exited)
		selected, err = parser.Parse(args)
	}()
	if exited >= 0 {
		return "", nil, silentError(exited)
	}
	if err != nil {
		return "", nil, errors.Join(didYouMean(err, parser.Model, args), settings.check(parser.Model))
	}
	verb, _, _ = strings.Cut(selected.Command(), " <")
	if err := errors.Join(settings.check(parser.Model), config.check(selected.Command(), a.domain)); err != nil {
		return verb, nil, err
	}
	typed := map[string]bool{}
	for _, p := range selected.Path {
		if p.Flag != nil && !p.Resolved {
			typed[p.Flag.Name] = true
		}
	}
	for _, p := range selected.Path {
		for _, f := range p.Flags {
			if f.Name == "help" {
				continue
			}
			s := setting{Name: f.Name, Value: shown(f), From: cmp.Or(settings.origins[f.Name], "default")}
			switch {
			case typed[f.Name]:
				s.From = "flag"
			case f.Name == "config" && settings.path != "":
				s.Value, s.From = settings.path, settings.env("config")
			}
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b setting) int { return strings.Compare(a.Name, b.Name) })
	return verb, found, nil
}

// hidden stands for a secret.
const hidden = "***"

// secrets are the ends of the names of flags whose values nobody is shown.
var secrets = []string{"password", "bearer", "secret", "token"}

// shown is a flag's value, fit to be seen and to be JSON.
func shown(f *kong.Flag) any {
	secret := slices.ContainsFunc(secrets, func(end string) bool { return strings.HasSuffix(f.Name, end) })
	if secret && !f.Target.IsZero() {
		return hidden
	}
	if f.Name == "server" && f.Target.Kind() == reflect.String {
		return serversShown(f.Target.String())
	}
	return plainValue(f.Target)
}

func plainValue(v reflect.Value) any {
	if d, is := v.Interface().(time.Duration); is {
		return d.String()
	}
	switch v.Kind() {
	case reflect.String:
		return withoutPasswords(v.String())
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return plainValue(v.Elem())
	case reflect.Slice:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = plainValue(v.Index(i))
		}
		return all
	case reflect.Map:
		all := map[string]any{}
		for _, k := range v.MapKeys() {
			all[k.String()] = plainValue(v.MapIndex(k))
		}
		return all
	default:
		return v.Interface()
	}
}

// serversShown is a list of NATS servers, fit to be seen; their addresses may do without nats://.
func serversShown(list string) string {
	parts := strings.Split(list, ",")
	for i, part := range parts {
		if !strings.Contains(part, "://") && strings.Contains(part, "@") {
			parts[i] = "nats://" + strings.TrimSpace(part)
		}
	}
	return withoutPasswords(strings.Join(parts, ","))
}

// withoutPasswords hides what a list of URLs says about who connects.
func withoutPasswords(text string) string {
	parts := strings.Split(text, ",")
	for i, part := range parts {
		if !strings.Contains(part, "@") || !strings.Contains(part, "://") {
			continue
		}
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil {
			parts[i] = hidden
			continue
		}
		if _, has := u.User.Password(); has {
			parts[i] = strings.Replace(u.Redacted(), "xxxxx", hidden, 1)
			continue
		}
		u.User = nil // a token
		parts[i] = strings.Replace(u.String(), "://", "://"+hidden+"@", 1)
	}
	return strings.Join(parts, ",")
}
