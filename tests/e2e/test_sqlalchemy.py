"""SQLAlchemy on psycopg and on asyncpg: the same work through the gateway and around it gives the same."""

import asyncio
import ssl
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload
from sqlalchemy.pool import NullPool

from tests.peers.gateway import Gateway
from tests.peers.postgres import VERSIONS


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    key: Mapped[uuid.UUID]
    born: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))
    worth: Mapped[Decimal] = mapped_column(sa.Numeric(20, 4))
    photo: Mapped[bytes | None]
    tags: Mapped[list[str]] = mapped_column(postgresql.ARRAY(sa.Text))
    more: Mapped[dict[str, Any]] = mapped_column(postgresql.JSONB)
    active: Mapped[Any] = mapped_column(postgresql.INT4RANGE, nullable=True)
    books: Mapped[list["Book"]] = relationship(order_by="Book.id", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("authors.id"))


def author(number: int) -> Author:
    return Author(
        name=f"naïve {number}",
        key=uuid.UUID(int=number),
        born=datetime(2000, 1, 1, number, tzinfo=UTC),
        worth=Decimal("12345.6789") * number,
        photo=bytes(range(256)) if number else None,
        tags=["a", 'b"c', ""],
        more={"n": number, "deep": [None, 1.5]},
        active=postgresql.Range(number, None),
        books=[Book(title=f"book {each}") for each in range(number)],
    )


def shown(found: Author) -> tuple[Any, ...]:
    row = (found.name, found.key, found.born, found.worth, found.photo, found.tags, found.more, str(found.active))
    return (*row, [each.title for each in found.books])


def work(session: Session) -> list[Any]:
    """ORM round trip, executemany, errors and rollbacks, streaming, reflection."""
    Base.metadata.drop_all(session.connection())
    Base.metadata.create_all(session.connection())
    session.add_all([author(number) for number in range(4)])
    session.commit()
    everyone = sa.select(Author).options(selectinload(Author.books)).order_by(Author.name)
    found: list[Any] = [[shown(each) for each in session.scalars(everyone)]]
    inserted = session.scalars(
        sa.insert(Book).returning(Book.title, sort_by_parameter_order=True),
        [{"title": f"many {number}", "author_id": 1} for number in range(1200)],
    )
    found.append(list(inserted))
    session.execute(sa.update(Book).values(title=Book.title + "!").where(Book.author_id == 1))
    session.commit()
    session.add(author(1))
    with pytest.raises(IntegrityError) as unique:
        session.flush()
    session.rollback()
    found.append(str(unique.value.orig).split("\n")[0])
    with session.begin_nested() as savepoint:
        session.execute(sa.delete(Book))
        savepoint.rollback()
    with pytest.raises(DBAPIError):
        session.execute(sa.text("select 1/0"))
    session.rollback()
    streamed = session.execute(
        sa.select(Book.id, Book.title).order_by(Book.id), execution_options={"yield_per": 300}
    )
    found.append([tuple(row) for part in streamed.partitions() for row in part])
    found.append(sorted(sa.inspect(session.connection()).get_table_names()))
    columns = sa.inspect(session.connection()).get_columns("authors")
    found.append([(each["name"], str(each["type"]), each["nullable"]) for each in columns])
    session.delete(session.get_one(Author, 3))
    session.commit()
    found.append(session.scalar(sa.select(sa.func.count()).select_from(Author)))
    session.close()
    return found


@pytest.fixture(scope="module", params=VERSIONS)
def side(request: pytest.FixtureRequest) -> Iterator[tuple[Gateway, str]]:
    """Each version's gateway in turn, and a database that both sides begin with no tables in."""
    gateway: Gateway = request.getfixturevalue(f"gateway{request.param}")
    with gateway.cluster.fresh_database("template0") as name:
        yield gateway, name


def test_on_psycopg(side: tuple[Gateway, str]) -> None:
    gateway, database = side
    query = {"sslmode": "verify-full", "sslrootcert": str(gateway.ca)}
    token, secret = gateway.token("postgres"), gateway.cluster.passwords["postgres"]
    found = []
    for password, port, options in (
        (token, gateway.port, query),
        (secret, gateway.cluster.port, {"sslmode": "prefer"}),
    ):
        url = sa.URL.create("postgresql+psycopg", "postgres", password, "127.0.0.1", port, database, query=options)
        engine = sa.create_engine(url, poolclass=NullPool)
        with Session(engine) as session:
            found.append(work(session))
        engine.dispose()
    assert found[0] == found[1]
    assert found[0][-1] == 3 and len(found[0][1]) == 1200


async def test_on_asyncpg(side: tuple[Gateway, str]) -> None:
    gateway, database = side
    context = ssl.create_default_context(cafile=str(gateway.ca))
    token = await asyncio.to_thread(gateway.token, "postgres")
    secret = gateway.cluster.passwords["postgres"]
    found = []
    for password, port, secure in ((token, gateway.port, context), (secret, gateway.cluster.port, False)):
        url = sa.URL.create("postgresql+asyncpg", "postgres", password, "127.0.0.1", port, database)
        engine = create_async_engine(url, poolclass=NullPool, connect_args={"ssl": secure})
        async with AsyncSession(engine) as session:
            found.append(await session.run_sync(work))
            rows = await session.stream(sa.select(Book.title).order_by(Book.id).execution_options(yield_per=100))
            found[-1].append([row.title async for row in rows])
        await engine.dispose()
    assert found[0] == found[1]
    assert found[0][-2] == 3
