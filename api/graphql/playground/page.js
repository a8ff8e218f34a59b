// The page posts the operation; subscriptions go over a WebSocket. What comes back is only ever shown as text.
const at = id => document.getElementById(id);

const examples = {
  "Orders with their customers and payments": [`query Orders($first: Int!, $after: String) {
  orders(first: $first, after: $after) {
    edges {
      node {
        orderNumber status totalAmount currency
        customer { name tier }
        payments { status amount transactionId }
      }
    }
    pageInfo { hasNextPage endCursor }
  }
}`, `{ "first": 10 }`],
  "Place an order": [`mutation Place($input: CreateOrderInput!) {
  createOrder(orderId: "o-playground", input: $input, idempotencyKey: "playground-1") {
    outcome revision version events
    error { code message pointer allowed }
  }
}`, `{
  "input": {
    "customerId": "c-1",
    "currency": "USD",
    "items": [{ "productId": "p-1", "quantity": 2, "price": 19.99 }],
    "shippingAddress": { "street": "1 Main St", "city": "Springfield", "country": "USA" },
    "payment": { "method": "credit_card", "token": "tok_ok" }
  }
}`],
  "An order, its history and how it began": [`query Order($id: ID!) {
  order(orderId: $id) {
    status
    history { edges { node { version type time user data } } }
    asOf(revision: 1) { version state }
  }
}`, `{ "id": "o-playground" }`],
  "Stock that runs out": [`{
  inventory(below: 10) { edges { node { productId available reorder } } }
}`, `{}`],
  "Events as they happen": [`subscription {
  events { revision live events { type category aggregateId version data } }
}`, `{}`],
};

function show(text) { at("answer").textContent = text; }

let socket;
function stop() {
  socket?.close(1000);
  socket = undefined;
  at("stop").hidden = true;
}

function subscribe(payload) {
  stop();
  show("");
  const mine = socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/graphql", "graphql-transport-ws");
  at("stop").hidden = false;
  const send = message => mine.send(JSON.stringify(message));
  mine.onopen = () => send({ type: "connection_init" });
  mine.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "connection_ack") send({ id: "1", type: "subscribe", payload });
    if (message.type === "ping") send({ type: "pong" });
    if (message.type === "next" || message.type === "error") {
      at("answer").textContent = JSON.stringify(message.payload, null, 2) + "\n" + at("answer").textContent.slice(0, 100000);
    }
  };
  mine.onclose = ({ code, reason }) => {
    at("status").textContent = "closed " + code + (reason ? ": " + reason : "");
    if (socket === mine) stop();
  };
}

async function run() {
  let variables;
  try {
    variables = JSON.parse(at("variables").value || "{}");
  } catch (error) {
    show("Variables: " + error.message);
    return;
  }
  const payload = { query: at("query").value, variables };
  if (/^\s*(#.*\s*)*subscription\b/.test(payload.query)) {
    subscribe(payload);
    return;
  }
  const begun = performance.now();
  try {
    const answer = await fetch("/graphql", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(payload) });
    const text = await answer.text();
    at("status").textContent = answer.status + " in " + Math.round(performance.now() - begun) + " ms";
    show(JSON.stringify(JSON.parse(text), null, 2));
  } catch (error) {
    show(String(error));
  }
}

for (const name of Object.keys(examples)) at("examples").append(new Option(name));
function choose() {
  const [query, variables] = examples[at("examples").value];
  at("query").value = query;
  at("variables").value = variables;
}
at("examples").addEventListener("change", choose);
at("run").addEventListener("click", run);
at("stop").addEventListener("click", stop);
document.addEventListener("keydown", event => { if (event.ctrlKey && event.key === "Enter") run(); });
choose();

const schema = await (await fetch("/graphql/schema")).text();
function find() {
  const wanted = at("find").value.trim().toLowerCase();
  const parts = schema.split(/\n(?=(?:"|type |input |enum |scalar ))/);
  at("schema").textContent = wanted ? parts.filter(part => part.toLowerCase().includes(wanted)).join("\n") : schema;
}
at("find").addEventListener("input", find);
find();
