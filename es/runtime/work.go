package runtime

import (
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
)

// ProjectionWork is a rebuild or verification of a read model that is under way on a node.
type ProjectionWork struct {
	Kind  string      `json:"kind"` // rebuild or verify
	By    string      `json:"by"`
	Since time.Time   `json:"since"`
	Done  es.Revision `json:"done"` // of Total revisions
	Total es.Revision `json:"total"`
	Left  float64     `json:"leftSeconds,omitempty"` // estimated; 0: not known yet
}

// now is the work with the time left, should it go on as fast as so far.
func (w ProjectionWork) now() ProjectionWork {
	if w.Done > 0 && w.Total > w.Done {
		w.Left = time.Since(w.Since).Seconds() / float64(w.Done) * float64(w.Total-w.Done)
	}
	return w
}

// atWork does something long, which info tells of from its first progress on until it has ended.
func (p *projection) atWork(w ProjectionWork, progress func(done, total es.Revision), do func(progress func(done, total es.Revision)) error) error {
	w.Since = time.Now().UTC()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.works = slices.DeleteFunc(p.works, func(other *ProjectionWork) bool { return other == &w })
	}()
	return do(func(done, total es.Revision) {
		progress(done, total)
		p.mu.Lock()
		defer p.mu.Unlock()
		w.Done, w.Total = done, total
		if !slices.Contains(p.works, &w) {
			p.works = append(p.works, &w)
		}
	})
}

// verified keeps what a verification found, for info to tell.
func (p *projection) verified(v Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verdict = &v
}
