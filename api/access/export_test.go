package access

import "time"

// SetClock is for tests.
func (s *KeySet) SetClock(now func() time.Time) { s.now = now }

// SetClock is for tests.
func (s *Sessions) SetClock(now func() time.Time) { s.now = now }

// Token is for tests.
var Token = token
