package cli

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/posener/complete"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

const (
	completeTime  = time.Second // then the shell has waited long enough
	completeLimit = 200         // ids offered at once
)

// predictors complete what verbs take, by the names in their tags. Names come from the domain's lists, ids from the running
// system; when that is not there, is slow or says no, there are none, and nothing is said: the shell would show it as part
// of the line.
func (a *app) predictors(ctx context.Context) map[string]complete.Predictor {
	fixed := func(names []string) complete.Predictor { return complete.PredictSet(names...) }
	asked := func(ask func(context.Context, account, complete.Args) ([]string, error)) complete.Predictor {
		return complete.PredictFunc(func(args complete.Args) []string { return a.predict(ctx, args, ask) })
	}
	var projections, sagas, commands, events, scopes []string
	for _, p := range a.domain.Projectors {
		projections = append(projections, p.Name)
	}
	for _, s := range a.domain.Sagas {
		sagas = append(sagas, s.Name())
	}
	for _, e := range a.domain.Events {
		events = append(events, e.Type)
	}
	for _, g := range a.domain.Aggregates {
		commands = append(commands, commandTypes(g)...)
	}
	for op := range maps.Keys(access.Rules) {
		scopes = append(scopes, string(op))
	}
	return map[string]complete.Predictor{
		"category":   fixed(a.categories("")),
		"projection": fixed(projections),
		"saga":       fixed(sagas),
		"consumer":   fixed(runtime.Consumers(a.domain)),
		"event":      fixed(events),
		"type":       fixed(append(commands, events...)),
		"scope":      fixed(scopes),
		"command":    complete.PredictFunc(a.predictCommand),
		"stream":     a.predictStream(asked(askStreams)),
		"process":    asked(a.askProcesses),
		"snapshot":   asked(askSnapshots),
		"letter":     asked(askLetters),
		"key":        asked(askKeys),
	}
}

func commandTypes(g es.Aggregate) []string {
	var types []string
	for _, c := range g.Commands() {
		types = append(types, c.Type)
	}
	return types
}

// categories are those that begin with a text.
func (a *app) categories(begin string) []string {
	var found []string
	for _, g := range a.domain.Aggregates {
		if strings.HasPrefix(g.Category(), begin) {
			found = append(found, g.Category())
		}
	}
	return found
}

// predictCommand offers the commands of the aggregate that stands before, or all.
func (a *app) predictCommand(args complete.Args) []string {
	var own, all []string
	for _, g := range a.domain.Aggregates {
		all = append(all, commandTypes(g)...)
		for _, word := range args.Completed {
			if category, _, ok := strings.Cut(word, "/"); ok && category == g.Category() {
				own = append(own, commandTypes(g)...)
			}
		}
	}
	if own != nil {
		return own
	}
	return all
}

// predictStream offers categories until one is certain, and then its aggregates: a shell sets a space behind a word that
// is the only one.
func (a *app) predictStream(ids complete.Predictor) complete.Predictor {
	return complete.PredictFunc(func(args complete.Args) []string {
		category, _, chosen := strings.Cut(args.Last, "/")
		if known := a.categories(category); !chosen && len(known) != 1 {
			for i := range known {
				known[i] += "/"
			}
			return known
		} else if !chosen {
			args.Last = known[0] + "/"
		}
		return ids.Predict(args)
	})
}

// predict asks the running system, for so long as a shell may wait.
func (a *app) predict(ctx context.Context, args complete.Args, ask func(context.Context, account, complete.Args) ([]string, error)) []string {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	found := make(chan []string, 1)
	go func() {
		ids, err := a.ask(ctx, args, ask)
		if err != nil {
			ids = nil
		}
		found <- ids
	}()
	select {
	case ids := <-found:
		return ids
	case <-ctx.Done():
		return nil
	}
}

func (a *app) ask(ctx context.Context, args complete.Args, ask func(context.Context, account, complete.Args) ([]string, error)) ([]string, error) {
	client, err := a.typedClient(strings.Fields(os.Getenv("COMP_LINE")))
	if err != nil {
		return nil, err
	}
	nc, err := client.connect(a.domain.Name+" completion", nats.Timeout(completeTime/2), nats.NoReconnect())
	if err != nil {
		return nil, err
	}
	to, err := a.account(nc)
	if err != nil {
		return nil, err
	}
	defer to.close()
	return ask(ctx, to, args)
}

// typedClient reads how to connect from a line that is not complete, from the environment and the configuration file, as the
// verb would.
func (a *app) typedClient(words []string) (clientFlags, error) {
	var into struct {
		File string `name:"config" type:"path"`
		clientFlags
	}
	parser, err := kong.New(&into, kong.Name(a.domain.Name), kong.Exit(func(code int) { panic(exit(code)) }), kong.Resolvers(a.settings()), kong.NoDefaultHelp())
	if err != nil {
		return into.clientFlags, err
	}
	var flags []string
	for i, word := range words {
		name, _, valued := strings.Cut(word, "=")
		if !slices.ContainsFunc(parser.Model.Flags, func(f *kong.Flag) bool { return "--"+f.Name == name }) {
			continue
		}
		flags = append(flags, word)
		if !valued && i+1 < len(words) {
			flags = append(flags, words[i+1])
		}
	}
	_, err = parser.Parse(flags)
	return into.clientFlags, err
}

// askStreams lists aggregates of a category. It asks for one page of the log's subjects, of which the server makes it
// 100,000 at most.
func askStreams(ctx context.Context, to account, args complete.Args) ([]string, error) {
	category, _, _ := strings.Cut(args.Last, "/")
	question, err := json.Marshal(map[string]any{"subjects_filter": "events." + category + ".*"})
	if err != nil {
		return nil, err
	}
	m, err := to.nc.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.INFO."+natsstore.EventsStream, question)
	if err != nil {
		return nil, err
	}
	var answer struct {
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, err
	}
	var found []string
	for _, subject := range slices.Sorted(maps.Keys(answer.State.Subjects)) {
		id := strings.TrimPrefix(subject, "events."+category+".")
		if name := category + "/" + id; strings.HasPrefix(name, args.Last) && len(found) < completeLimit {
			found = append(found, name)
		}
	}
	return found, nil
}

func (a *app) askProcesses(ctx context.Context, to account, args complete.Args) ([]string, error) {
	f := runtime.ProcessFilter{Query: args.Last}
	for _, word := range args.Completed {
		if hasSaga(a.domain, word) {
			f.Saga = word
		}
	}
	page, _, _, err := runtime.NewProcesses(to.js, a.domain).List(ctx, f, "", completeLimit)
	return each(page, func(p runtime.Process) string { return p.Key }), err
}

func askSnapshots(ctx context.Context, to account, _ complete.Args) ([]string, error) {
	store, err := runtime.NewSnapshotStore(to.nc, to.schemas, to.log)
	if err != nil {
		return nil, err
	}
	page, _, err := store.List(ctx, "", "", completeLimit)
	return each(page, func(s runtime.SnapshotInfo) string { return s.Stream }), err
}

func askLetters(ctx context.Context, to account, _ complete.Args) ([]string, error) {
	letters, err := ops.NewDeadLetters(to.nc)
	if err != nil {
		return nil, err
	}
	page, _, err := letters.List(ctx, ops.LetterFilter{}, completeLimit)
	return each(page, func(l ops.Letter) string { return l.ID }), err
}

func askKeys(ctx context.Context, to account, _ complete.Args) ([]string, error) {
	keys, err := ops.NewKeys(to.js).List(ctx)
	return each(slices.DeleteFunc(keys, func(k ops.Key) bool { return k.State(time.Now()) != ops.KeyGood }), func(k ops.Key) string { return k.ID }), err
}
