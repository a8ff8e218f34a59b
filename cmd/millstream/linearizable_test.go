package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// versioned is an aggregate as its clients see it: a version that each accepted command raises by one, if it is the
// expected one.
var versioned = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byStream := map[string][]porcupine.Operation{}
		for _, op := range history {
			stream := op.Input.(attempt).stream
			byStream[stream] = append(byStream[stream], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byStream {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() []any { return []any{uint64(0)} },
	Step: func(state, input, output any) []any {
		version, in, out := state.(uint64), input.(attempt), output.(answer)
		switch {
		case out.unknown && in.expected == version:
			return []any{version, version + 1} // it may have happened
		case out.unknown:
			return []any{version}
		case out.accepted && in.expected == version && out.version == version+1:
			return []any{version + 1}
		case !out.accepted && in.expected != version && out.version == version:
			return []any{version}
		}
		return nil
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %+v", input, output) },
}

// attempt is a command that expects a version; one that expects nobodysVersion reads, since a conflict names the
// version that it found.
type attempt struct {
	stream   string
	expected uint64
}

type answer struct {
	accepted, unknown bool
	version           uint64
}

const nobodysVersion = math.MaxUint32

// TestTheLogIsLinearizable lets 16 clients append to and read from 100 aggregates while the process is killed and
// started again, and has the history checked. MILLSTREAM_SEED repeats what the clients chose.
func TestTheLogIsLinearizable(t *testing.T) {
	t.Parallel()
	const clients, aggregates, operations, kills = 16, 100, 32_000, 5
	random := seeded(t)
	dir, address := t.TempDir(), freeAddress(t)
	var p *process
	start := func() {
		t.Helper()
		var err error
		if p, err = launchNode(nil, "dev", "--data", dir, "--nats", address, "--http", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { p.bury(t) })
	start()
	began := time.Now()
	now := func() int64 { return int64(time.Since(began)) }
	var done atomic.Int64
	histories := make([][]porcupine.Operation, clients)
	var wg sync.WaitGroup
	for client := range clients {
		nc := connect(t, p.NATS, nats.ReconnectWait(50*time.Millisecond))
		choose := rand.New(rand.NewPCG(random.Uint64(), uint64(client)))
		wg.Go(func() {
			believed := map[string]uint64{} // what this client last saw; others make it old
			for n := 0; done.Add(1) <= operations; n++ {
				in := attempt{stream: "p-" + strconv.Itoa(choose.IntN(aggregates))}
				in.expected = believed[in.stream]
				if choose.IntN(3) == 0 {
					in.expected = nobodysVersion
				}
				op := porcupine.Operation{ClientId: client, Input: in, Call: now()}
				// Half of those who get no answer ask again with the same id, and must then learn what became of it.
				out := ask(nc, in, fmt.Sprintf("c-%d-%d", client, n), choose.IntN(2) == 0)
				op.Output, op.Return = out, now()
				if out.unknown {
					op.Return = math.MaxInt64
				} else {
					believed[in.stream] = out.version
				}
				histories[client] = append(histories[client], op)
			}
		})
	}
	for kill := range kills {
		target := int64(operations * (kill + 1) / (kills + 1))
		if err := eventually(2*patience, func() error {
			if n := done.Load(); n < target {
				return fmt.Errorf("%d of %d operations, to be killed at %d", n, operations, target)
			}
			return nil
		}); err != nil {
			t.Fatalf("%v\n%s", err, p.log)
		}
		if err := p.kill(); err != nil {
			t.Fatal(err)
		}
		start()
	}
	wg.Wait()
	var history []porcupine.Operation
	counts := map[string]int{}
	for _, h := range histories {
		history = append(history, h...)
		for _, op := range h {
			switch out := op.Output.(answer); {
			case out.unknown:
				counts["unknown"]++
			case out.accepted:
				counts["accepted"]++
			case op.Input.(attempt).expected == nobodysVersion:
				counts["read"]++
			default:
				counts["conflict"]++
			}
		}
	}
	t.Logf("%d operations: %v", len(history), counts)
	if counts["accepted"] < operations/10 {
		t.Errorf("only %d of %d operations were accepted: the history shows little", counts["accepted"], operations)
	}
	model := versioned.ToModel()
	if result := porcupine.CheckOperationsTimeout(model, history, 2*time.Minute); result != porcupine.Ok {
		t.Errorf("the history is not linearizable: %s", result)
	}
	// The checker itself must be able to say no: one accepted command is made to have read an older version.
	for i, op := range history {
		if out := op.Output.(answer); out.accepted && out.version > 3 {
			history[i].Output = answer{accepted: true, version: out.version - 1}
			break
		}
	}
	if porcupine.CheckOperations(model, history) {
		t.Error("a false history passes for linearizable")
	}
}

// ask sends one command; insist makes it go on, with the same id, until the outcome is known.
func ask(nc *nats.Conn, in attempt, id string, insist bool) answer {
	m := &nats.Msg{
		Subject: "call.stock." + in.stream + ".ReceiveStock", Data: []byte(`{"quantity":1}`),
		Header: nats.Header{"Nats-Msg-Id": {id}, "Millstream-Expected-Version": {strconv.FormatUint(in.expected, 10)}},
	}
	for deadline := time.Now().Add(patience); ; {
		reply, err := request(nc, m)
		if err == nil {
			switch reply.Outcome {
			case es.Accepted:
				return answer{accepted: true, version: reply.Version}
			case es.Conflict:
				return answer{version: reply.Version}
			}
		}
		if !insist || time.Now().After(deadline) {
			return answer{unknown: true}
		}
		time.Sleep(20 * time.Millisecond) // the process is being started again
	}
}

func request(nc *nats.Conn, m *nats.Msg) (reply es.Reply, err error) {
	answer, err := nc.RequestMsg(m, 2*time.Second)
	if err != nil {
		return reply, err
	}
	if err := json.Unmarshal(answer.Data, &reply); err != nil {
		return reply, err
	}
	if reply.Outcome == "" {
		return reply, errors.New("no outcome")
	}
	return reply, nil
}
