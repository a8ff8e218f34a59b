package estest_test

import (
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/schema"
)

func TestLogInMemoryConforms(t *testing.T) {
	t.Parallel()
	estest.RunLogConformance(t, func(_ *testing.T, codec *schema.Registry) es.Log { return estest.NewLog(codec) })
}
