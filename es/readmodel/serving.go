package readmodel

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Serving says which of a projector's models answers queries. It is a small file beside them, NAME.serving, replaced
// in one step: a crash leaves the old one or the new one.
type Serving struct {
	Key      string `json:"serving,omitempty"`  // "": none has ever been complete
	Previous string `json:"previous,omitempty"` // served before, kept for going back
	Rejected string `json:"rejected,omitempty"` // gone back from; it does not serve again by itself
	Paused   *Pause `json:"paused,omitempty"`
}

// Pause says who stopped a projector, when and why.
type Pause struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

func servingFile(dir, name string) string { return filepath.Join(dir, name+".serving") }

// ReadServing reads what Write wrote; the zero value when there is nothing yet.
func ReadServing(dir, name string) (s Serving, err error) {
	data, err := os.ReadFile(servingFile(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, es.Transient(fmt.Errorf("read which model of %s serves: %w", name, err))
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, es.Permanent(fmt.Errorf("%s does not say which model serves (%w): remove it, and the newest complete one will", servingFile(dir, name), err))
	}
	return s, nil
}

// Write replaces the file. When it returns without an error, the choice survives a power cut.
func (s Serving) Write(dir, name string) error {
	if err := s.write(dir, name); err != nil {
		return es.Transient(fmt.Errorf("write which model of %s serves: %w", name, err))
	}
	return nil
}

func (s Serving) write(dir, name string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return WriteFile(servingFile(dir, name), append(data, '\n'))
}

// WriteFile replaces a file so that whatever happens it holds the old content or the new, and the new for good once
// this has returned.
func WriteFile(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Sweep removes the models of a projector but those of the keys to keep.
func Sweep(dir, name string, keep ...string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return es.Transient(fmt.Errorf("remove old models of %s: %w", name, err))
	}
	ours := regexp.MustCompile(`^` + regexp.QuoteMeta(name) + `-v\d+-[0-9a-f]{8}$`)
	var errs []error
	for _, e := range entries {
		key, isModel := strings.CutSuffix(e.Name(), ".db")
		if !isModel || !ours.MatchString(key) || slices.Contains(keep, key) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		errs = append(errs, remove(path), remove(path+rebuildSuffix), remove(path+verifySuffix))
	}
	if err := errors.Join(errs...); err != nil {
		return es.Transient(fmt.Errorf("remove old models of %s: %w", name, err))
	}
	return nil
}

// OpenKept opens a model that other code has built: it answers queries and stays as it is. A file that is not
// there is os.ErrNotExist; one that is damaged is permanent, and stays where it is.
func OpenKept(dir, name, key string) (*Model, error) {
	path, err := filepath.Abs(filepath.Join(dir, key+".db"))
	if err != nil {
		return nil, es.Transient(fmt.Errorf("read model %s: %w", key, err))
	}
	if _, err := os.Stat(path); err != nil {
		return nil, es.Transient(fmt.Errorf("read model %s: %w", key, err))
	}
	m := &Model{projector: es.Projector{Name: name}, path: path, changed: make(chan struct{})}
	if err := m.connect("NORMAL"); err != nil {
		return nil, classify(fmt.Errorf("read model %s: %w", key, err))
	}
	return m, nil
}
