// Package cli is the command line: it reads flags, environment and configuration file, runs what was asked and
// turns what came of it into an exit code. It knows the lists it is handed, and no order.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"golang.org/x/term"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

// Option adds to what Main is handed.
type Option func(*app)

// Quickstart names the commands that `dev` prints to be pasted next. The effects must be es.Send.
func Quickstart(effects ...es.Effect) Option {
	return func(a *app) { a.quickstart = effects }
}

// Demo is what `dev --demo` runs until ctx ends. send executes an es.Send and returns its reply.
func Demo(demo func(ctx context.Context, send func(context.Context, es.Effect) es.Reply) error) Option {
	return func(a *app) { a.demo = demo }
}

// Main runs a domain's command line and ends the process. natsConf is the text of nats.conf, from which the
// embedded server is started.
func Main(domain es.Domain, natsConf string, options ...Option) {
	a := &app{domain: domain, natsConf: natsConf, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	for _, o := range options {
		o(a)
	}
	// The first signal asks to finish, the second finds the default action again and ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(a.run(ctx, os.Args[1:]))
}

type app struct {
	domain     es.Domain
	natsConf   string
	quickstart []es.Effect
	demo       func(context.Context, func(context.Context, es.Effect) es.Reply) error
	doors      []func(*runtime.Engine, DoorOptions) (Door, error)

	stdin          io.Reader
	stdout, stderr io.Writer
}

// run returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	if err := a.domain.Validate(); err != nil {
		return a.fail(err)
	}
	config := &Config{}
	settings := a.settings()
	exited := -1
	parser, err := a.parser(ctx, config, settings)
	if err != nil {
		return a.fail(err)
	}
	func() {
		defer catch(&exited)
		kongcompletion.Register(parser, kongcompletion.WithPredictors(a.predictors(ctx)))
	}()
	if exited >= 0 {
		return exited
	}
	var selected *kong.Context
	func() {
		defer catch(&exited)
		selected, err = parser.Parse(args)
	}()
	if exited >= 0 {
		return exited
	}
	err = didYouMean(err, parser.Model, args)
	if err == nil && !tellsFaults(selected.Command()) {
		err = errors.Join(settings.check(parser.Model), config.check(selected.Command(), a.domain))
	}
	if err != nil {
		return a.fail(usageError{fmt.Errorf("%w\nSee %s --help", err, a.domain.Name)})
	}
	log, err := newLogger(a.stderr, config.LogLevel, config.LogFormat)
	if err != nil {
		return a.fail(usageError{err})
	}
	func() {
		defer catch(&exited)
		err = selected.Run(log)
	}()
	if exited >= 0 {
		return exited
	}
	if err != nil && !errors.Is(err, errDry) {
		return a.fail(err)
	}
	return exitOK
}

// tellsFaults reports whether a verb is there to say what is wrong with the settings, and so runs in spite of it.
func tellsFaults(verb string) bool { return verb == "doctor" || strings.HasPrefix(verb, "config ") }

func (a *app) settings() *settings {
	return &settings{prefix: strings.ToUpper(a.domain.Name) + "_", origins: map[string]string{}}
}

// parser reads command lines into a configuration.
func (a *app) parser(ctx context.Context, into *Config, settings *settings) (*kong.Kong, error) {
	into.Dev.Gateways = gatewayFlags(a.domain.Gateways)
	into.Serve.Gateways = into.Dev.Gateways
	parser, err := kong.New(into,
		kong.Name(a.domain.Name),
		kong.Description(description),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoAppDescFormat: true}),
		kong.ValueFormatter(settings.help),
		kong.Resolvers(settings),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(a, into),
	)
	if err == nil {
		addExamples(parser.Model)
	}
	return parser, err
}

// didYouMean adds the verb that a mistyped one is close to. kong does so for flags, and for verbs only where none is
// the default.
func didYouMean(err error, app *kong.Application, args []string) error {
	if err == nil {
		return nil
	}
	typed, isVerb := strings.CutPrefix(err.Error(), "unexpected argument ")
	if !isVerb {
		return err
	}
	var verbs []string
	for _, child := range app.Children {
		if slices.Contains(args, child.Name) {
			return err // one argument too many for this verb
		}
		verbs = append(verbs, child.Name)
	}
	if close, ok := schema.Closest(typed, verbs); ok {
		return fmt.Errorf("unknown command %s: did you mean %s?", typed, close)
	}
	return fmt.Errorf("unknown command %s: known are %s", typed, strings.Join(verbs, ", "))
}

// exit is how kong's own "end the process now" travels: --help and completion have printed what was asked.
type exit int

func catch(code *int) {
	switch e := recover().(type) {
	case nil:
	case exit:
		*code = int(e)
	default:
		panic(e)
	}
}

func (a *app) fail(err error) int {
	var silent silentError
	if !errors.As(err, &silent) {
		fmt.Fprintf(a.stderr, "%s: %v\n", a.domain.Name, err)
	}
	return exitCode(err)
}

// printJSON writes one line of JSON to standard output.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// each is one thing made of every other.
func each[T, U any](of []T, make func(T) U) []U {
	made := []U{}
	for _, v := range of {
		made = append(made, make(v))
	}
	return made
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
