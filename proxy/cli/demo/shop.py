"""The target of the demo: a small shop's database and its two logins, as SQL scripts for psql.

The data are invented and the same every time (no random()), so what a reader or a test sees can be told beforehand:
200 customers, 40 products, 600 orders, 1500 order items.
"""

from collections.abc import Mapping
from string import Template

DATABASE = "shop"
READER = "readonly"
OWNER = "owner"

_LOGINS = Template("""
CREATE ROLE "owner" LOGIN PASSWORD '$owner';
CREATE ROLE "readonly" LOGIN PASSWORD '$readonly';
-- What ran for a client that was killed does not run on: the server looks for it now and then.
ALTER ROLE "owner" SET client_connection_check_interval = '1s';
ALTER ROLE "readonly" SET client_connection_check_interval = '1s';
CREATE DATABASE shop OWNER "owner" TEMPLATE template0 ENCODING 'UTF8';
""")

_TABLES = """
SET ROLE "owner";
SET client_min_messages = warning;

CREATE TABLE customers (
    id         integer PRIMARY KEY,
    name       text NOT NULL,
    email      text NOT NULL UNIQUE,
    city       text NOT NULL,
    newsletter boolean NOT NULL,
    joined     date NOT NULL
);

CREATE TABLE products (
    id     integer PRIMARY KEY,
    sku    text NOT NULL UNIQUE,
    name   text NOT NULL,
    price  numeric(8, 2) NOT NULL CHECK (price > 0),
    stock  integer NOT NULL,
    tags   text[] NOT NULL,
    detail jsonb NOT NULL
);

CREATE TABLE orders (
    id          integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    placed      timestamptz NOT NULL,
    status      text NOT NULL CHECK (status IN ('placed', 'paid', 'shipped', 'returned')),
    note        text
);

CREATE TABLE order_items (
    order_id   integer NOT NULL REFERENCES orders,
    line       integer NOT NULL,
    product_id integer NOT NULL REFERENCES products,
    quantity   integer NOT NULL CHECK (quantity > 0),
    price      numeric(8, 2) NOT NULL,
    PRIMARY KEY (order_id, line)
);

INSERT INTO customers
SELECT n, first || ' ' || last, lower(first) || '.' || translate(lower(last), 'öé', 'oe') || n || '@example.com',
       (ARRAY['Lisbon', 'Oslo', 'Zürich', 'Kraków', 'Dublin', 'Lyon', 'Porto'])[1 + n % 7],
       n % 3 = 0, date '2021-01-04' + (n * 7)
FROM generate_series(1, 200) AS n,
     LATERAL (SELECT (ARRAY['Ada', 'Grace', 'Linus', 'Edsger', 'Barbara', 'Ken', 'Radia', 'Donald', 'Frances',
                            'Tony'])[1 + n % 10] AS first,
                     (ARRAY['Andrade', 'Björk', 'Costa', 'Duval', 'Eriksen', 'Fabre', 'Gómez', 'Hansen', 'Ito',
                            'Jonsson', 'Kowalska', 'Léger', 'Moreau'])[1 + n % 13] AS last) AS names;

INSERT INTO products
SELECT n, 'TG-' || lpad(n::text, 4, '0'), adjective || ' ' || noun, 4.90 + (n * 137 % 900) / 10.0, n * 31 % 120,
       ARRAY[lower(noun), CASE WHEN n % 2 = 0 THEN 'kitchen' ELSE 'office' END],
       jsonb_build_object('weight_g', 100 + n * 23 % 1900, 'fragile', n % 4 = 0)
FROM generate_series(1, 40) AS n,
     LATERAL (SELECT (ARRAY['Blue', 'Oak', 'Folding', 'Enamel', 'Quiet', 'Spare', 'Round', 'Tall'])[1 + n % 8]
                         AS adjective,
                     (ARRAY['Mug', 'Lamp', 'Stool', 'Kettle', 'Clock'])[1 + n % 5] AS noun) AS names;

INSERT INTO orders
SELECT n, 1 + n * 17 % 200, timestamptz '2025-01-06 08:00:00+00' + n * interval '7 hours 13 minutes',
       CASE WHEN n > 570 THEN 'placed' WHEN n > 540 THEN 'paid' WHEN n % 29 = 0 THEN 'returned' ELSE 'shipped' END,
       CASE WHEN n % 11 = 0 THEN 'please ring twice' END
FROM generate_series(1, 600) AS n;

INSERT INTO order_items
SELECT n, line, product, 1 + (n + line) % 3, price
FROM generate_series(1, 600) AS n,
     LATERAL generate_series(1, 1 + n % 4) AS line,
     LATERAL (SELECT 1 + (n * 7 + line * 11) % 40 AS product) AS chosen
     JOIN products ON products.id = product;

CREATE INDEX ON orders (customer_id);
CREATE VIEW revenue AS
    SELECT date_trunc('month', placed)::date AS month, count(DISTINCT orders.id) AS orders,
           sum(quantity * price) AS total
    FROM orders JOIN order_items ON order_items.order_id = orders.id
    WHERE status <> 'returned'
    GROUP BY 1;

GRANT USAGE ON SCHEMA public TO "readonly";
GRANT SELECT ON ALL TABLES IN SCHEMA public TO "readonly";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "readonly";
RESET ROLE;
ANALYZE;
"""


def logins(passwords: Mapping[str, str]) -> str:
    """The script, for database ``postgres``, that makes the roles and the empty database.

    ``passwords`` has those of ``owner`` and ``readonly``: random words without quotes, never a person's.
    """
    for password in passwords.values():
        if not password.replace("-", "").isalnum():
            raise ValueError("a generated password is letters, digits and hyphens only")
    return _LOGINS.substitute(passwords)


def tables() -> str:
    """The script, for database ``shop``, that makes and fills the tables and gives ``readonly`` its rights."""
    return _TABLES
