package cli

import (
	"strings"
	"testing"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es/estest"
)

// TestARestoreNamesTheServersThatItGoesTo, and not the secrets in their address.
func TestARestoreNamesTheServersThatItGoesTo(t *testing.T) {
	t.Parallel()
	address := estest.StartServer(t, millstream.NATSConf).ClientURL()
	secret := strings.Replace(address, "//", "//engine:"+estest.Password+"@", 1)
	code, _, said := runs(t, "import", "export_test.go", "--events", "--server", secret)
	if code != exitUsage || !strings.Contains(said, "in the log of "+address+",") || !strings.Contains(said, "--yes") {
		t.Errorf("%d: %s", code, said)
	}
}
