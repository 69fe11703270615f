package topology

import "testing"

func TestLinked(t *testing.T) {
	obs := Observations{"a": {"b", "c", "x"}, "b": {"a"}, "c": {}, "d": nil}
	tests := []struct {
		a, b string
		want LinkState
	}{
		{"a", "b", LinkUp},
		{"a", "c", LinkDown}, // c does not hear a
		{"b", "c", LinkDown},
		{"a", "x", LinkUnknown}, // x said nothing
		{"b", "x", LinkDown},    // x said nothing, but b did
		{"d", "x", LinkDown},
		{"x", "y", LinkUnknown},
	}
	for _, tt := range tests {
		if got := obs.Linked(tt.a, tt.b); got != tt.want {
			t.Errorf("Linked(%s, %s) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := obs.Linked(tt.b, tt.a); got != tt.want {
			t.Errorf("Linked(%s, %s) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
