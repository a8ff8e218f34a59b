package cli

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar is a progress bar on standard error, or nothing where that is no terminal.
type bar struct{ *progressbar.ProgressBar }

func (a *app) bar(wanted bool, total int64, what string) bar {
	if !wanted || !isTerminal(a.stderr) {
		return bar{}
	}
	return bar{progressbar.NewOptions64(total,
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionShowBytes(what == "import"),
		progressbar.OptionFullWidth(),
		progressbar.OptionSetElapsedTime(true),
	)}
}

// A bar that cannot be drawn is no reason to stop what it shows, hence the errors left alone.
func (b bar) set(done int64) {
	if b.ProgressBar != nil {
		_ = b.Set64(done)
	}
}

func (b bar) of(done, total int64) {
	if b.ProgressBar != nil && total > 0 {
		b.ChangeMax64(total)
		_ = b.Set64(done)
	}
}

func (b bar) clear() {
	if b.ProgressBar != nil {
		_ = b.Clear()
	}
}
