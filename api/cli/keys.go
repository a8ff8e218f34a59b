package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make an API key and print it, once."`
	List   keysListCmd   `cmd:"" help:"Every API key, without its secret."`
	Revoke keysRevokeCmd `cmd:"" help:"End an API key at once, in every process."`
}

// keys connects.
func (c clientFlags) keys(a *app) (account, *ops.Keys, error) {
	to, err := c.account(a, "keys")
	if err != nil {
		return to, nil, err
	}
	return to, ops.NewKeys(to.js), nil
}

type keysCreateCmd struct {
	Name   string        `arg:"" help:"Who it stands for: the user of its events and operator actions."`
	Role   string        `required:"" enum:"viewer,operator,admin" placeholder:"ROLE" help:"What it may do at most: ${enum}."`
	Scopes []string      `name:"scope" placeholder:"SCOPE,…" predictor:"scope" help:"Narrow that down to operations, such as query.ask, or those on one target, such as command.send:order."`
	For    time.Duration `placeholder:"TIME" help:"How long it is good, such as 720h. Default: until it is revoked."`
	By     string        `placeholder:"WHO" help:"Who does this, for the record; default: you, on this machine."`
	JSON   bool          `name:"json" help:"Print JSON."`
	clientFlags
}

// Help is kong's text below the usage.
func (keysCreateCmd) Help() string {
	return `The key is printed on standard output and kept nowhere: what is stored is a hash of it. Connect as a user of the account
that owns the streams (user engine in nats.conf); whoever may do that may make the first key.

  millstream keys create ci --role operator --scope command.send:order --for 720h > ci.key
  curl -H "X-API-Key: $(cat ci.key)" https://HOST/orders`
}

// createdKey is what create prints as JSON.
type createdKey struct {
	ops.Key
	Text string `json:"key"`
}

// Run is called by kong.
func (c *keysCreateCmd) Run(ctx context.Context, a *app) error {
	errs := []error{runtime.CheckUser(c.Name)}
	for _, scope := range c.Scopes {
		errs = append(errs, access.CheckScope(scope))
	}
	k := ops.Key{Name: c.Name, Role: c.Role, Scopes: c.Scopes}
	if c.For < 0 {
		errs = append(errs, fmt.Errorf("--for must be above zero, not %s", c.For))
	}
	if err := errors.Join(errs...); err != nil {
		return usageError{err}
	}
	if c.For > 0 {
		k.ExpiresAt = time.Now().UTC().Add(c.For).Truncate(time.Second)
	}
	to, keys, err := c.keys(a)
	if err != nil {
		return err
	}
	defer to.close()
	k, text, err := keys.Create(ctx, k, cmp.Or(c.By, whoami()))
	if err != nil {
		return err
	}
	k.Hash = ""
	if c.JSON {
		return a.printJSON(createdKey{k, text})
	}
	fmt.Fprintf(a.stderr, "%s %s, role %s: keep it now, it is not shown again.\n", k.ID, k.Name, k.Role)
	_, err = fmt.Fprintln(a.stdout, text)
	return err
}

type keysListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
	clientFlags
}

// listedKey is a key as list prints it.
type listedKey struct {
	ops.Key
	State ops.KeyState `json:"state"`
}

// Run is called by kong.
func (c *keysListCmd) Run(ctx context.Context, a *app) error {
	to, keys, err := c.keys(a)
	if err != nil {
		return err
	}
	defer to.close()
	all, err := keys.List(ctx)
	if err != nil {
		return err
	}
	listed := []listedKey{}
	for _, k := range all {
		k.Hash = ""
		listed = append(listed, listedKey{k, k.State(time.Now())})
	}
	return a.printList(list{json: listed, head: "ID,NAME,ROLE,SCOPES,STATE,CREATED,BY,EXPIRES", rows: each(listed, func(k listedKey) []any {
		var expires any = "never"
		if !k.ExpiresAt.IsZero() {
			expires = k.ExpiresAt
		}
		return []any{k.ID, k.Name, k.Role, cmp.Or(strings.Join(k.Scopes, ","), "all"), k.State, k.CreatedAt, k.CreatedBy, expires}
	})}, c.JSON)
}

type keysRevokeCmd struct {
	ID string `arg:"" predictor:"key" help:"The key's id: what stands between the first two _ of it."`
	recorded
	JSON bool `name:"json" help:"Print JSON."`
	danger
	clientFlags
}

// Help is kong's text below the usage.
func (keysRevokeCmd) Help() string {
	return `Requests with the key are refused as soon as the processes hear of it, which takes milliseconds; sessions that were
opened with it end too, and what is connected by WebSocket or follows events is let go within half a minute.

  millstream keys revoke 0123456789abcdef --reason "left the company"`
}

// Run is called by kong.
func (c *keysRevokeCmd) Run(ctx context.Context, a *app) error {
	if err := c.needReason(c.danger, "revoking", "the record must say why the key was ended"); err != nil {
		return err
	}
	to, keys, err := c.keys(a)
	if err != nil {
		return err
	}
	defer to.close()
	all, err := keys.List(ctx)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(k ops.Key) bool { return k.ID == c.ID && k.RevokedAt.IsZero() }); i >= 0 {
		k := all[i]
		if err := c.allow(a, c.JSON, fmt.Sprintf("Key %s of %s, role %s, will be refused everywhere, for good.", k.ID, k.Name, k.Role), k.Name); err != nil {
			return err
		}
	}
	k, already, err := keys.Revoke(ctx, c.ID, c.by(), c.Reason)
	if err != nil {
		return err
	}
	k.Hash = ""
	if c.JSON {
		return a.printJSON(listedKey{k, k.State(time.Now())})
	}
	was := "is"
	if already {
		was = "was already"
	}
	_, err = fmt.Fprintf(a.stdout, "%s %s %s revoked, by %s: %s\n", k.ID, k.Name, was, k.RevokedBy, k.Reason)
	return err
}
