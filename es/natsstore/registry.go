package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

const registrySubject = "$KV.registry.schemas"

// Register compares a program's types with those that the log is written with and stores what they add to them. It
// needs the streams to be set up and may run in many processes at once. Permanent error: they do not fit; it says in
// what, and what to do.
func Register(ctx context.Context, js jetstream.JetStream, program schema.Document) error {
	return retry(ctx, func(ctx context.Context) error {
		stored, revision, err := Registered(ctx, js)
		if err != nil {
			return err
		}
		differences := schema.Compare(stored, program)
		if err := schema.Breaking(differences); err != nil {
			return fmt.Errorf("%w\n`schema diff` shows all; `schema accept` puts this program's in their place, for when no such event was stored or the newer program is given up", err)
		}
		if revision > 0 && len(differences) == 0 {
			return nil
		}
		return register(ctx, js, program, revision) // a conflict is transient: another process was quicker
	})
}

// Registered returns the types that the log is written with, as the leader knows them, and their place in the
// registry; none and 0 before the first program has started.
func Registered(ctx context.Context, js jetstream.JetStream) (schema.Document, es.Revision, error) {
	stream, err := js.Stream(ctx, RegistryStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return schema.Document{}, 0, es.Permanent(fmt.Errorf("stream %s does not exist: no program has set this account up yet", RegistryStream))
	}
	if err != nil {
		return schema.Document{}, 0, es.Transient(fmt.Errorf("stream %s: %w", RegistryStream, err))
	}
	m, err := stream.GetLastMsgForSubject(ctx, registrySubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return schema.Document{}, 0, nil
	}
	if err != nil {
		return schema.Document{}, 0, es.Transient(fmt.Errorf("%s: %w", registrySubject, err))
	}
	d, err := schema.ParseDocument(m.Data)
	if err != nil {
		return d, 0, fmt.Errorf("%s at %d: %w", registrySubject, m.Sequence, err)
	}
	return d, es.Revision(m.Sequence), nil
}

// AcceptSchemas puts a program's types in the place of the stored ones, whatever they break: an operator's word that
// no event is in the log that the program cannot read. ErrConflict: they have changed since revision.
func AcceptSchemas(ctx context.Context, js jetstream.JetStream, program schema.Document, revision es.Revision) error {
	return register(ctx, js, program, revision)
}

func register(ctx context.Context, js jetstream.JetStream, program schema.Document, expected es.Revision) error {
	data, err := json.Marshal(program)
	if err != nil {
		return es.Permanent(err)
	}
	_, err = NewPublisher(js.Conn()).Append(ctx, registrySubject, message.NewMessage(watermill.NewShortUUID(), data), expected)
	return err
}
