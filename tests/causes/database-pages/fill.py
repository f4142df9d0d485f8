import sqlite3
import sys

words = {f"word{number}" for number in range(40)}
database = sqlite3.connect(sys.argv[1])
database.execute("CREATE TABLE words (word TEXT PRIMARY KEY) WITHOUT ROWID")
database.executemany("INSERT INTO words VALUES (?)", ((word,) for word in words))
database.commit()
