package cli

import (
	"strings"

	"github.com/alecthomas/kong"
)

// examples are shown below the help of the verbs whose help has none of its own.
var examples = map[string]string{
	"dev":                  "dev --demo",
	"serve":                "serve --server nats://n1:4222,nats://n2:4222 --user engine --data /var/lib/millstream",
	"import":               "import orders.jsonl --dry-run",
	"projections list":     "projections list --json",
	"projections show":     "projections show orders",
	"projections verify":   "projections verify orders",
	"projections pause":    "projections pause orders --reason 'a migration'",
	"projections resume":   "projections resume orders --skip 1234 --reason 'a bad import' --dry-run",
	"projections rollback": "projections rollback orders --reason 'wrong totals'",
	"deadletters list":     "deadletters list --consumer commands --json",
	"deadletters show":     "deadletters show ms-f077c3c8fab0872d302a182efc1f371f",
	"deadletters retry":    "deadletters retry --consumer gateway-payment --reason 'the provider is back'",
	"deadletters resend":   "deadletters resend ms-f077c3c8fab0872d302a182efc1f371f '{\"quantity\":12}' --command ReceiveStock --reason 'a typo'",
	"deadletters drop":     "deadletters drop --error ReceiveStok --reason 'a bad file' --dry-run",
	"keys list":            "keys list",
	"snapshots list":       "snapshots list stock",
	"snapshots show":       "snapshots show stock/p-1",
	"sagas show":           "sagas show fulfilment o-1",
	"query":                "query --projection orders 'SELECT status, count(*) FROM orders GROUP BY status'",
	"project":              "project sales.sql --out sales.db",
	"history":              "history order/o-1 --data",
	"trace":                "trace ticket-9 --since 24h",
	"export":               "export log.jsonl.zst",
	"schema list":          "schema list --json",
	"schema show":          "schema show OrderCreated",
	"schema check":         "schema check",
	"schema diff":          "schema diff",
	"schema accept":        "schema accept --dry-run",
	"bench":                "bench --work call --duration 10s",
	"version":              "version --json",
	"completion":           "completion -c bash",
}

// addExamples puts them into the help.
func addExamples(app *kong.Application) {
	for _, verb := range app.Leaves(true) {
		if line := examples[verbName(app, verb)]; line != "" {
			verb.Detail = strings.TrimSpace(verb.Detail + "\n\nExample: " + app.Name + " " + line)
		}
	}
}

// verbName is how a verb is called, such as "sagas list".
func verbName(app *kong.Application, verb *kong.Node) string {
	name := verb.Name
	for n := verb.Parent; n != nil && n != app.Node; n = n.Parent {
		name = n.Name + " " + name
	}
	return name
}
