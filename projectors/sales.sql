-- Sales and money, a row per day (UTC) and currency. What was ordered counts on the order's own date, also when it is
-- cancelled later; what was paid or refunded counts on the day when it was. Amounts are INTEGER minor units.
CREATE TABLE daily_sales (
	day             TEXT NOT NULL,              -- 2026-01-31
	currency        TEXT NOT NULL,
	orders          INTEGER NOT NULL DEFAULT 0, -- placed, cancelled ones included
	units           INTEGER NOT NULL DEFAULT 0,
	gross           INTEGER NOT NULL DEFAULT 0, -- with tax
	cancelled       INTEGER NOT NULL DEFAULT 0, -- orders
	cancelled_gross INTEGER NOT NULL DEFAULT 0,
	paid            INTEGER NOT NULL DEFAULT 0,
	refunded        INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (day, currency)
) STRICT, WITHOUT ROWID;

-- What each order has added to its day: later events of an order name neither day nor currency.
CREATE TABLE sales_orders (
	order_id TEXT PRIMARY KEY,
	day      TEXT NOT NULL,
	currency TEXT NOT NULL,
	units    INTEGER NOT NULL,
	gross    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- on OrderCreated
INSERT INTO sales_orders (order_id, day, currency, units, gross)
VALUES ($.stream.id, coalesce(date($.data.orderDate), substr($.time, 1, 10)), $.data.currency,
	(SELECT coalesce(sum(value ->> '$.quantity'), 0) FROM json_each($.data.items)),
	minor($.data.totalAmount, $.data.currency));
INSERT INTO daily_sales (day, currency, orders, units, gross)
SELECT day, currency, 1, units, gross FROM sales_orders WHERE order_id = $.stream.id
ON CONFLICT (day, currency) DO UPDATE SET
	orders = orders + 1, units = units + excluded.units, gross = gross + excluded.gross;

-- on OrderItemAdded
UPDATE daily_sales SET
	units = daily_sales.units + $.data.item.quantity,
	gross = daily_sales.gross + minor($.data.totalAmount, o.currency) - o.gross
FROM sales_orders o
WHERE o.order_id = $.stream.id AND daily_sales.day = o.day AND daily_sales.currency = o.currency;
UPDATE sales_orders SET units = units + $.data.item.quantity, gross = minor($.data.totalAmount, currency)
WHERE order_id = $.stream.id;

-- on OrderCancelled
UPDATE daily_sales SET cancelled = cancelled + 1, cancelled_gross = cancelled_gross + o.gross
FROM sales_orders o
WHERE o.order_id = $.stream.id AND daily_sales.day = o.day AND daily_sales.currency = o.currency;

-- on PaymentProcessed
INSERT INTO daily_sales (day, currency, paid)
VALUES (substr($.time, 1, 10), $.data.currency, minor($.data.amount, $.data.currency))
ON CONFLICT (day, currency) DO UPDATE SET paid = paid + excluded.paid;

-- on PaymentRefunded
INSERT INTO daily_sales (day, currency, refunded)
VALUES (substr($.time, 1, 10), $.data.currency, minor($.data.amount, $.data.currency))
ON CONFLICT (day, currency) DO UPDATE SET refunded = refunded + excluded.refunded;
