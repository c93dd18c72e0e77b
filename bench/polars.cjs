// Answers with Polars the questions of sql_cases.c, for peer_polars.c.
//
// Lines come in on stdin and each is answered by one on stdout:
//   version           ok VERSION
//   read TABLE PATH   ok                          the table in memory
//   scan TABLE PATH   ok                          a scan of the file in every query
//   query ROW         ok NS ROWS COLUMNS SUM...   as answer.h says
// Anything that goes wrong: failed TEXT.
const readline = require("node:readline");
const pl = require("nodejs-polars");

const START_NS = 1723075200000000000n;
const tables = {};
const engines = {}; // by query, what was faster when it ran first

const queries = {
  scan: (t) =>
    t.trades.select(
      pl.col("seq").max().alias("seq"),
      pl.col("ts").max().alias("ts"),
      pl.col("price").sum().alias("price"),
      pl.col("volume").sum().alias("volume"),
      pl.col("price").mul(pl.col("volume")).sum().alias("turnover"),
    ),
  sum: (t) =>
    t.trades.select(pl.len().alias("n"), pl.col("volume").sum().alias("volume")),
  count: (t) => t.trades.select(pl.len().alias("n")),
  count_text: (t) =>
    t.trades.filter(pl.col("instrument_id").eq(pl.lit("IF2409"))).select(pl.len().alias("n")),
  filter: (t) =>
    t.trades
      .filter(pl.col("price").gt(3400).and(pl.col("volume").lt(20)))
      .select(pl.col("volume").sum().alias("volume"), pl.len().alias("n")),
  group: (t) =>
    t.trades
      .groupBy("instrument_id")
      .agg(
        pl.len().alias("n"),
        pl.col("price").mean().alias("price"),
        pl.col("volume").sum().alias("volume"),
      )
      .sort("instrument_id"),
  // Rows are in the order of seq: first and last are by seq.
  ohlc: (t) =>
    t.trades
      .select(
        pl.col("instrument_id"),
        pl.col("ts").dt.truncate("1m").alias("minute"),
        pl.col("price"),
        pl.col("volume"),
      )
      .groupBy(["instrument_id", "minute"])
      .agg(
        pl.col("price").first().alias("open"),
        pl.col("price").max().alias("high"),
        pl.col("price").min().alias("low"),
        pl.col("price").last().alias("close"),
        pl.col("volume").sum().alias("volume"),
      )
      .sort(["instrument_id", "minute"]),
  join: (t) =>
    t.trades
      .select("order_id", "volume")
      .join(t.orders.select("order_id", "side"), { on: "order_id", how: "inner" })
      .groupBy("side")
      .agg(pl.len().alias("n"), pl.col("volume").sum().alias("volume"))
      .sort("side"),
  // Both sides are in the order of ts.
  asof: (t) =>
    t.trades
      .select("instrument_id", "ts", "price")
      .joinAsof(t.ticks.select("instrument_id", "ts", "last_price"), {
        on: "ts",
        by: "instrument_id",
        strategy: "backward",
        checkSortedness: false,
      })
      .filter(pl.col("last_price").isNotNull())
      .select(
        pl.len().alias("n"),
        pl.col("price").minus(pl.col("last_price")).sum().alias("difference"),
      ),
};

function textHash(text) {
  let hash = 0;
  for (const byte of Buffer.from(text)) hash = (Math.imul(hash, 31) + byte) >>> 0;
  return hash;
}

function sumOf(series) {
  const kind = series.dtype.variant;
  let sum = 0;
  if (kind === "Datetime") {
    for (const ns of series.cast(pl.Int64).toArray()) sum += Number(BigInt(ns) - START_NS) / 1e9;
  } else if (kind === "String" || kind === "Utf8") {
    for (const text of series.toArray()) sum += textHash(text);
  } else {
    for (const value of series.toArray()) sum += Number(value);
  }
  return sum;
}

function run(row, engine) {
  const start = process.hrtime.bigint();
  const frame = queries[row](tables).collectSync({ engine });
  return { ns: process.hrtime.bigint() - start, frame };
}

// Each engine is tried twice before the first answer.
function fasterEngine(row) {
  let best = null;
  for (const engine of ["in-memory", "streaming", "in-memory", "streaming"]) {
    try {
      const { ns } = run(row, engine);
      if (best === null || ns < best.ns) best = { engine, ns };
    } catch (error) {
      process.stderr.write(`polars: ${row}, ${engine}: ${error.message}\n`);
    }
  }
  return best.engine;
}

function answer(words) {
  const [verb, name, path] = words;
  if (verb === "version") return `ok ${pl.version}`;
  if (verb === "read") {
    tables[name] = pl.readParquet(path).lazy();
    return "ok";
  }
  if (verb === "scan") {
    tables[name] = pl.scanParquet(path);
    return "ok";
  }
  engines[name] ??= fasterEngine(name);
  const { ns, frame } = run(name, engines[name]);
  const sums = frame.getColumns().map((column) => sumOf(column));
  return `ok ${ns} ${frame.height} ${frame.width} ${sums.join(" ")}`;
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  let text;
  try {
    text = answer(line.split(" "));
  } catch (error) {
    text = `failed ${String(error.message).replaceAll("\n", " ")}`;
  }
  process.stdout.write(`${text}\n`);
});
