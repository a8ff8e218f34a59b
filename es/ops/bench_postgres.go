package ops

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/millstream-es/millstream/es"
)

// postgres is what most would build instead: a table of events, in which (stream, version) is unique.
type postgres struct {
	pool     *pgxpool.Pool
	insert   string
	events   int
	streams  []string
	versions []int64
}

const (
	postgresTable = "millstream_bench_events"
	sharedParams  = 3 // of an insert: stream, version before, time
	ownParams     = 3 // of each event: type, data, meta; no two events of a domain are the same
)

// openPostgres makes the table anew, with as many connections as workers, each with synchronous_commit=on.
func openPostgres(ctx context.Context, dsn string, workers, events int, names []es.Stream) (*postgres, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns, config.MinConns = int32(workers), int32(workers)
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	p := &postgres{pool: pool, events: events, streams: make([]string, len(names)), versions: make([]int64, len(names))}
	for i, n := range names {
		p.streams[i] = n.String()
	}
	_, err = pool.Exec(ctx, `DROP TABLE IF EXISTS `+postgresTable+`; CREATE TABLE `+postgresTable+` (
		position bigserial PRIMARY KEY, stream text NOT NULL, version bigint NOT NULL, type text NOT NULL,
		data jsonb NOT NULL, meta jsonb NOT NULL, time timestamptz NOT NULL, UNIQUE (stream, version))`)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	rows := make([]string, events)
	for i := range rows {
		own := sharedParams + i*ownParams
		rows[i] = fmt.Sprintf("($1, $2 + %d, $%d, $%d, $%d, $3)", i+1, own+1, own+2, own+3)
	}
	p.insert = `INSERT INTO ` + postgresTable + ` (stream, version, type, data, meta, time) VALUES ` + strings.Join(rows, ", ")
	return p, nil
}

func (p *postgres) appending(workers int) contender {
	own := newShares(workers, len(p.streams))
	data := fmt.Sprintf(`{"amount":7,"currency":"USD","note":%q}`, tallyNote)
	meta := `{"id":"b-0000000-0000000000000000000000000/%d","commandId":"b-0000000-0000000000000000000000000","user":"bench","correlation":"b-0000000-0000000000000000000000000","requestHash":"0123456789abcdef0123456789abcdef"}`
	return contender{"PostgreSQL insert", p.events, closed(workers, func(ctx context.Context, w int) error {
		i := own.next(w)
		params := append(make([]any, 0, sharedParams+p.events*ownParams), p.streams[i], p.versions[i], time.Now())
		for n := range p.events {
			params = append(params, tallied{}.EventType(), data, fmt.Sprintf(meta, n+1))
		}
		if _, err := p.pool.Exec(ctx, p.insert, params...); err != nil {
			return err
		}
		p.versions[i] += int64(p.events)
		return nil
	})}
}

func (p *postgres) close() error {
	defer p.pool.Close()
	_, err := p.pool.Exec(context.Background(), `DROP TABLE `+postgresTable)
	return err
}
