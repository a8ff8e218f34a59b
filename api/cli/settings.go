package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v4"

	"github.com/millstream-es/millstream/es/schema"
)

// settings fills what the command line left open, from the environment and then from the configuration file
// (YAML, of which JSON is a part; keys are flag names without the dashes). Faults are collected, so that all of them
// are reported at once.
type settings struct {
	prefix string // of the environment variables
	loaded bool
	path   string
	file   map[string]any
	faults []error

	origins map[string]string // by the flag's name, where its value is from
}

// Validate is part of kong.Resolver.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve is part of kong.Resolver: it returns a flag's value, or nil to leave the default.
func (s *settings) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if flag.Name == "help" || flag.Name == "config" {
		return nil, nil
	}
	s.load(ctx)
	value, from := any(nil), ""
	if v, ok := s.file[flag.Name]; ok {
		value, from = plain(v), fmt.Sprintf("%s: %s", s.path, flag.Name)
	}
	for _, env := range append(slices.Clone(flag.Envs), s.env(flag.Name)) { // our own is stronger than NATS_URL
		if text := os.Getenv(env); text != "" {
			value, from = text, env
		}
	}
	if value == nil {
		return nil, nil
	}
	// A dry run: kong would stop at the first fault.
	target := reflect.New(flag.Target.Type()).Elem()
	if err := flag.Parse(kong.Scan().PushTyped(value, kong.FlagValueToken), target); err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s (%s)", strings.TrimSpace(err.Error()), from))
		return nil, nil
	}
	if flag.Enum != "" && target.Kind() == reflect.String && !flag.EnumMap()[target.String()] {
		s.faults = append(s.faults, fmt.Errorf("--%s must be one of %s, not %q (%s)", flag.Name, flag.Enum, target.String(), from))
		return nil, nil
	}
	s.origins[flag.Name] = from
	return value, nil
}

// plain makes text of a scalar, which every flag type reads; lists and maps stay.
func plain(v any) any {
	switch v.(type) {
	case nil, []any, map[string]any:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func (s *settings) load(ctx *kong.Context) {
	if s.loaded {
		return
	}
	s.loaded = true
	s.path = os.Getenv(s.env("config"))
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			s.path = fmt.Sprint(ctx.FlagValue(p.Flag))
		}
	}
	if s.path == "" {
		return
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("configuration file: %w", err))
		return
	}
	if err := yaml.Unmarshal(data, &s.file); err != nil {
		s.faults = append(s.faults, fmt.Errorf("configuration file %s: %w", s.path, err))
	}
}

// check returns every fault found, keys of the file that no verb knows among them.
func (s *settings) check(app *kong.Application) error {
	if s.file != nil {
		known := flagNames(app.Node)
		for _, key := range slices.Sorted(maps.Keys(s.file)) {
			if slices.Contains(known, key) {
				continue
			}
			hint := ""
			if close, ok := schema.Closest(key, known); ok {
				hint = fmt.Sprintf(": did you mean %s?", close)
			}
			s.faults = append(s.faults, fmt.Errorf("%s: unknown setting %q%s", s.path, key, hint))
		}
	}
	return errors.Join(s.faults...)
}

func flagNames(n *kong.Node) []string {
	var names []string
	for _, f := range n.Flags {
		names = append(names, f.Name)
	}
	for _, child := range n.Children {
		names = append(names, flagNames(child)...)
	}
	return names
}

func (s *settings) env(flag string) string {
	return s.prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// help adds the default, where a placeholder hides it, and the environment variable to a flag's help.
func (s *settings) help(v *kong.Value) string {
	text := kong.DefaultHelpValueFormatter(v)
	if v.Flag == nil || v.Name == "help" {
		return text
	}
	text = strings.TrimSuffix(text, ".")
	if v.HasDefault && v.Flag.PlaceHolder != "" {
		text += "; default " + v.Default
	}
	if env := s.env(v.Name); !slices.Contains(v.Tag.Envs, env) {
		text += " ($" + env + ")"
	}
	return text
}
