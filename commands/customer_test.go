package commands_test

import (
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
)

func TestCustomer(t *testing.T) {
	t.Parallel()
	register := commands.RegisterCustomer{Name: "Ada Lovelace", Email: "ada@example.com"}
	registered := events.CustomerRegistered(register)
	given := func(history ...events.Customer) *estest.Scenario[commands.Customer, commands.CustomerCommand, events.Customer] {
		return estest.For(t, commands.Customers).ID("c-1").Given(history...)
	}
	given().When(register).Then(registered).ThenState(commands.Customer{Name: "Ada Lovelace", Email: "ada@example.com", Tier: "standard"})
	given(registered).When(register).ThenUnchanged()
	given(registered).When(commands.RegisterCustomer{Name: "Eve"}).ThenRejected(commands.ErrCustomerExists)

	given(registered).When(commands.RenameCustomer{Name: "Ada King"}).Then(events.CustomerRenamed{Name: "Ada King"}).
		And().When(commands.RenameCustomer{Name: "Ada King"}).ThenUnchanged()
	given().When(commands.RenameCustomer{Name: "Ada King"}).ThenRejected(commands.ErrCustomerNotFound)

	given(registered).When(commands.ChangeCustomerTier{Tier: "gold"}).Then(events.CustomerTierChanged{Tier: "gold"}).
		And().When(commands.ChangeCustomerTier{Tier: "gold"}).ThenUnchanged().
		And().When(commands.ChangeCustomerTier{Tier: "standard"}).Then(events.CustomerTierChanged{Tier: "standard"})
	given(registered).When(commands.ChangeCustomerTier{Tier: "standard"}).ThenUnchanged()
	given().When(commands.ChangeCustomerTier{Tier: "gold"}).ThenRejected(commands.ErrCustomerNotFound)
}
