package natsstore_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
)

func TestWhatAConnectionLeadsToIsShownWithoutSecrets(t *testing.T) {
	t.Parallel()
	address := estest.StartServer(t, millstream.NATSConf).ClientURL()
	nc, err := nats.Connect(strings.Replace(address, "//", "//engine:"+estest.Password+"@", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if shown := natsstore.ConnectedTo(nc); shown != address {
		t.Errorf("%s, want %s", shown, address)
	}
	nc.Close()
	if shown := natsstore.ConnectedTo(nc); shown != "" {
		t.Errorf("a closed connection leads to %s", shown)
	}
}
