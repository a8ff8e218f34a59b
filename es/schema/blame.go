package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/millstream-es/millstream/es"
)

// blame says which field of a body that fits its schema does not fit its Go type, such as a number with too many
// decimals or one too large for an int64. encoding/json does not tell, so the fields are tried one by one.
func blame(t reflect.Type, value any, err error) error {
	if f, ok := misfit(t, value, ""); ok {
		return &es.InvalidError{Code: "schema", Message: f.Message, Pointer: f.Pointer}
	}
	return &es.InvalidError{Code: "schema", Message: err.Error()}
}

// misfit finds the first part of a value, by the order of the Go type's fields, that cannot be read into its type.
func misfit(t reflect.Type, value any, at string) (es.Fault, bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return misfitLeaf(t, value, at)
	}
	switch v := value.(type) {
	case map[string]any:
		switch t.Kind() {
		case reflect.Struct:
			return misfitField(t, v, at)
		case reflect.Map:
			for _, key := range sortedKeys(v) {
				if f, ok := misfit(t.Elem(), v[key], at+"/"+escape.Replace(key)); ok {
					return f, true
				}
			}
		}
	case []any:
		if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
			for i, item := range v {
				if f, ok := misfit(t.Elem(), item, fmt.Sprintf("%s/%d", at, i)); ok {
					return f, true
				}
			}
			return es.Fault{}, false
		}
	}
	return misfitLeaf(t, value, at)
}

func misfitField(t reflect.Type, object map[string]any, at string) (es.Fault, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			if found, ok := misfit(f.Type, object, at); ok {
				return found, true
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		v, present := object[name]
		if !present || !f.IsExported() || name == "-" {
			continue
		}
		if found, ok := misfit(f.Type, v, at+"/"+escape.Replace(name)); ok {
			return found, true
		}
	}
	return es.Fault{}, false
}

func misfitLeaf(t reflect.Type, value any, at string) (es.Fault, bool) {
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err == nil {
		return es.Fault{}, false
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && reflect.Int <= t.Kind() && t.Kind() <= reflect.Uint64 {
		return es.Fault{Pointer: at, Message: fmt.Sprintf("must be a whole number that fits %s, written without point or exponent, but is %s", t.Kind(), show(value))}, true
	}
	return es.Fault{Pointer: at, Message: err.Error()}, true
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
