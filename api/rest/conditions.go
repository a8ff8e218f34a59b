package rest

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// gzipSuffix stands at the end of the entity tag of a compressed answer, which is another representation.
const gzipSuffix = "-gzip"

// etag is the entity tag of an answer: the version of the aggregate that it is about, "" when it is about several,
// and a hash of the whole, which may change while that version does not, as by a name taken from elsewhere.
func etag(version string, body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + version + "." + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// versionTag is the entity tag of what a command left behind, which is known by its version alone.
func versionTag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// matches reports whether If-None-Match names a tag: the caller has that answer.
func matches(h http.Header, tag string) bool {
	for known := range strings.SplitSeq(strings.Join(h.Values("If-None-Match"), ","), ",") {
		known = strings.TrimPrefix(strings.TrimSpace(known), "W/")
		if withoutSuffix(known) == tag || known == "*" {
			return true
		}
	}
	return false
}

func withoutSuffix(tag string) string {
	if plain, ok := strings.CutSuffix(tag, gzipSuffix+`"`); ok {
		return plain + `"`
	}
	return tag
}

// stripSuffixes is for handlers that compare tags themselves.
func stripSuffixes(h http.Header) {
	for i, v := range h["If-None-Match"] {
		h["If-None-Match"][i] = strings.ReplaceAll(v, gzipSuffix+`"`, `"`)
	}
}

// expectedVersion is what a command demands of its aggregate: the version in If-Match, alone or at the beginning of
// an answer's entity tag, or with If-None-Match: * that there is none yet. Nil: nothing.
func expectedVersion(h http.Header) (*uint64, error) {
	match, err := single(h, "If-Match")
	if err != nil {
		return nil, err
	}
	none, err := single(h, "If-None-Match")
	switch {
	case err != nil:
		return nil, err
	case match != "" && none != "":
		return nil, badHeader("If-Match and If-None-Match exclude each other: send one")
	case none == "*":
		return new(uint64), nil
	case len(h.Values("If-None-Match")) > 0:
		return nil, badHeader("header If-None-Match %q: a command takes * alone, for an aggregate that is not there yet", clip(none))
	case len(h.Values("If-Match")) == 0:
		return nil, nil
	}
	if tag, ok := strings.CutPrefix(match, `"`); ok {
		if tag, ok = strings.CutSuffix(tag, `"`); ok {
			digits, _, _ := strings.Cut(strings.TrimSuffix(tag, gzipSuffix), ".")
			if version, err := strconv.ParseUint(digits, 10, 64); err == nil {
				return &version, nil
			}
		}
	}
	return nil, badHeader(`header If-Match %q must be one version in double quotes, like "3", or the ETag of an answer about the aggregate`, clip(match))
}
