package commands

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestReservationsBehaveLikeAMapThatIsCopied(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var trees []Reservations
		var models []map[string]Reservation
		tree, model := Reservations{}, map[string]Reservation{}
		for i := range rapid.IntRange(0, 80).Draw(t, "writes") {
			order := fmt.Sprint("o-", rapid.IntRange(0, 40).Draw(t, "order"))
			r := Reservation{stockReserved, int64(i)}
			tree = tree.With(order, r)
			model = maps.Clone(model)
			model[order] = r
			trees, models = append(trees, tree), append(models, model)
		}
		for i := range trees {
			if got := maps.Collect(trees[i].All()); !maps.Equal(got, models[i]) {
				t.Fatalf("after %d writes: %v, want %v", i+1, got, models[i])
			}
			for order, want := range models[i] {
				if got := trees[i].Get(order); got != want {
					t.Fatalf("after %d writes: %s is %v, want %v", i+1, order, got, want)
				}
			}
		}
		data, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := json.Marshal(model); err != nil || string(want) != string(data) {
			t.Fatalf("JSON is %s, want %s, %v", data, want, err)
		}
		var back Reservations
		if err := json.Unmarshal(data, &back); err != nil || !back.Equal(tree) {
			t.Fatalf("%s came back as %v, %v", data, maps.Collect(back.All()), err)
		}
		if tree.Equal(tree.With("o-x", Reservation{stockReleased, 0})) || tree.With("o-x", Reservation{}).Equal(tree) {
			t.Fatal("a larger map is equal to a smaller one")
		}
	})
}

func TestReservationsStayShallowHoweverTheIdsCome(t *testing.T) {
	t.Parallel()
	tree := Reservations{}
	for i := range 20_000 {
		tree = tree.With(fmt.Sprintf("o-%06d", i), Reservation{stockReserved, 1})
	}
	var depth func(n *idNode[Reservation]) int
	depth = func(n *idNode[Reservation]) int {
		if n == nil {
			return 0
		}
		return 1 + max(depth(n.left), depth(n.right))
	}
	if d := depth(tree.root); d > 100 { // a balanced one has 15, a random one seldom more than 40, a list 20,000
		t.Errorf("20,000 orders make a tree of depth %d", d)
	}
	orders := slices.Collect(maps.Keys(maps.Collect(tree.All())))
	if len(orders) != 20_000 {
		t.Errorf("%d orders are left", len(orders))
	}
}
