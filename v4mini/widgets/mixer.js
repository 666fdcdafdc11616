// The stream mixer: a hand moves logits, the matrix and the streams follow at once; Python hears of it and can be asked the same.

const COLUMNS = 48;         // numbers of a stream that are drawn
const CURVE = {width: 420, height: 190, left: 56, bottom: 34, top: 10, right: 12};

const sigmoid = x => 1 / (1 + Math.exp(-x));
const sumOf = values => values.reduce((a, b) => a + b, 0);

const rowsOf = ({shape, data}) => [...Array(shape[0]).keys()].map(i => [...data.slice(i * shape[1], (i + 1) * shape[1])]);

/** [M][M] logits -> the matrices of all rounds: [{rows, columns}], each after its row step and after its column step. */
function sinkhorn(logits, rounds, eps) {
  const M = logits.length, all = [...Array(M).keys()];
  const byRows = (matrix, own) => matrix.map(row => { const sum = sumOf(row); return row.map(value => own(value, sum)); });
  const byColumns = matrix => {
    const sums = all.map(k => sumOf(matrix.map(row => row[k])));
    return matrix.map(row => row.map((value, k) => value / (sums[k] + eps)));
  };
  const raised = logits.map(row => { const highest = Math.max(...row); return row.map(value => Math.exp(value - highest)); });
  const film = [{rows: raised, columns: raised}];
  for (let round = 1; round <= rounds; round++) {         // round 1 is a softmax; eps is added once behind it
    const rows = round === 1 ? byRows(raised, (value, sum) => value / sum + eps)
      : byRows(film[round - 1].columns, (value, sum) => value / (sum + eps));
    film.push({rows, columns: byColumns(rows)});
  }
  return film;
}

/** How far the worst row sum and the worst column sum are from 1. */
function errors(matrix) {
  const worst = sums => Math.max(...sums.map(sum => Math.abs(sum - 1)));
  return [worst(matrix.map(sumOf)), worst(matrix[0].map((_, k) => sumOf(matrix.map(row => row[k]))))];
}

class Mixer extends Explorer {
  hears() {
    this.tell = debounced(() => this.ask({rounds: this.rounds, logits: this.logits, pre: this.pre, post: this.post}), WAIT);
    return {data: () => this.take(), place: () => { this.rounds = this.model.get("place").rounds; this.draw(); }};
  }

  take() {
    const sent = this.model.get("data");
    Object.assign(this, {eps: sent.eps, source: sent.source, largest: sent.largest, most: sent.most, rounds: this.model.get("place").rounds,
      streams: rowsOf(unpack(sent.streams)), answer: [...unpack(sent.answer).data], first: sent.first});
    this.round.max = this.most;
    this.set(sent);
  }

  /** The logits of pre, post and comb, as Python sent them. */
  set({logits, pre, post}) {
    Object.assign(this, {logits: rowsOf(unpack(logits)), pre: [...unpack(pre).data], post: [...unpack(post).data]});
    if (this.hands?.length !== this.pre.length) this.grid();
    for (const {input, get} of this.sliders) input.value = get();
    this.draw();
  }

  // ---- the page, built once ----

  build() {
    const round = field("rounds of Sinkhorn", {type: "range", min: 0, step: 1, class: "round",
      oninput: () => { this.rounds = Number(round.input.value); this.draw(); this.tell(); }});
    this.round = round.input;
    this.roundWords = make("span", {});
    this.reset = make("button", {type: "button", class: "reset", onclick: () => { this.set(this.first); this.tell(); }}, "as it was");
    this.board = make("div", {class: "wide"});
    const map = label => {
      const heat = new HeatMap(label, {select() {}, tip: (j, k) => `from stream ${j} to stream ${k}: ${heat.values[j * heat.columns + k].toFixed(4)}`});
      return this.still(heat);
    };
    this.before = map("");
    this.after = map("");
    this.flow = this.still(new HeatMap("", {select() {}, tip: (row, c) => this.flowTip(row, c),
      row: row => String(row % this.pre.length)}));
    this.curve = svg("svg", {class: "chart", viewBox: `0 0 ${CURVE.width} ${CURVE.height}`, role: "img"});
    this.titles = [make("h4"), make("h4")];
    this.matrix = new Table("", [], this.receipt, [0]);
    this.table = make("section", {class: "matrix"});
    this.byStream = new Table("The streams", ["stream", "read (pre)", "written (post)", "size before", "size after"], this.receipt);
    this.root.append(this.told, this.said, make("div", {class: "bar"}, round.label, this.roundWords, this.reset),
      make("h4", {}, "Logits: drag one, or move to it with Tab and use the arrow keys"), this.board,
      make("div", {class: "columns"}, make("section", {}, this.titles[0], this.before.element),
        make("section", {}, this.titles[1], this.after.element),
        make("section", {}, make("h4", {}, "Worst row sum (line) and column sum (dashes) by round"), this.curve)),
      make("div", {class: "columns"}, this.table, make("section", {class: "streams"}, this.byStream.element),
        make("section", {}, make("h4", {}, "Streams before (upper half) and after (lower half)"), this.flow.element)),
      this.receipt.element, this.files({CSV: () => this.saveCsv(), JSON: () => this.saveJson()}));
  }

  /** A map to look at, not to choose from. */
  still(heat) {
    for (const name of ["tabindex", "aria-roledescription"]) heat.canvas.removeAttribute(name);
    heat.canvas.setAttribute("role", "img");
    heat.row = -1;
    heat.column = -1;
    return heat;
  }

  /** A slider for each logit, in a table: from stream j (down) to stream k (across), pre and post beside them. */
  grid() {
    const M = this.pre.length, all = [...Array(M).keys()];
    this.hands = all;
    this.sliders = [];
    const slider = (label, get, set) => {
      const value = make("span", {class: "quiet"});
      const input = make("input", {type: "range", min: -this.largest, max: this.largest, step: 0.05, "aria-label": label, oninput: () => {
        set(Number(input.value)); this.draw(); this.tell(); }});
      this.sliders.push({input, get, value});
      return make("td", {}, input, value);
    };
    const head = name => make("th", {scope: "col"}, name);
    this.board.replaceChildren(make("table", {class: "board"}, make("thead", {}, make("tr", {}, head("comb"), ...all.map(k => head(`to ${k}`)),
      head("pre: read"), head("post: write"))), make("tbody", {}, ...all.map(j => make("tr", {}, make("th", {scope: "row"}, `from ${j}`),
      ...all.map(k => slider(`logit from stream ${j} to stream ${k}`, () => this.logits[j][k], value => { this.logits[j][k] = value; })),
      slider(`pre logit of stream ${j}`, () => this.pre[j], value => { this.pre[j] = value; }),
      slider(`post logit of stream ${j}`, () => this.post[j], value => { this.post[j] = value; }))))));
    this.matrix = new Table("", ["comb", ...all.map(k => `to ${k}`), "sum"], this.receipt, [0]);
    this.table.replaceChildren(this.matrix.element);
  }

  // ---- drawing ----

  draw() {
    const {rounds} = this, M = this.pre.length, dark = this.root.hasAttribute("data-dark");
    this.film = sinkhorn(this.logits, this.most, this.eps);
    this.comb = this.film[rounds].columns;
    this.reads = this.pre.map(value => sigmoid(value) + this.eps);
    this.writes = this.post.map(value => 2 * sigmoid(value));
    this.next = this.writes.map((post, k) => this.answer.map((y, d) => post * y + sumOf(this.comb.map((row, j) => row[k] * this.streams[j][d]))));
    this.round.value = rounds;
    say(this.roundWords, `${rounds} of ${this.most}`);
    for (const {input, get, value} of this.sliders) {
      say(value, get().toFixed(2));
      input.setAttribute("aria-valuetext", get().toFixed(2));
    }
    const {rows, columns} = this.film[rounds];
    this.before.fill(rows.flat(), M, M, 1, dark);
    this.after.fill(columns.flat(), M, M, 1, dark);
    say(this.titles[0], rounds ? `Round ${rounds}: rows divided by their sums` : "Round 0: exp(logit - the row's largest)");
    say(this.titles[1], rounds ? `Round ${rounds}: then columns: comb` : "Round 0: the same");
    for (const [heat, matrix] of [[this.before, rows], [this.after, columns]]) {
      heat.canvas.setAttribute("aria-label", `${M} by ${M} numbers: ${matrix.map(row => row.map(value => value.toFixed(2)).join(" ")).join("; ")}`);
    }
    this.sentence();
    this.tableMatrix();
    this.tableStreams();
    this.drawFlow(dark);
    this.drawCurve();
  }

  sentence() {
    const [rows, columns] = errors(this.comb), digits = value => value < 0.001 ? value.toExponential(1) : value.toFixed(3);
    const largest = Math.max(...this.comb.flat());
    say(this.told, `${this.source}. After ${this.rounds} rounds the worst row sum is off by ${digits(rows)}, the worst column sum by `
      + `${digits(columns)}; the largest share is ${largest.toFixed(2)}. `
      + (rows < 0.01 && columns < 0.01 ? "Each stream is handed on whole, and none can grow by mixing." : "Not doubly stochastic yet."));
  }

  tableMatrix() {
    const M = this.pre.length, at = `explorer.comb(${this.rounds})`;
    const cell = (value, formula, python) => number(value, 3, formula, python);
    const step = this.rounds ? `its column divided by its sum + eps, for the ${this.rounds}. time` : "exp(logit - the largest of its row)";
    say(this.matrix.caption, `comb after ${this.rounds} rounds: what each stream gives to each`);
    this.matrix.fill([...this.comb.map((row, j) => ({cells: [`from ${j}`, ...row.map((value, k) => cell(value, step, `${at}[${j}, ${k}]`)),
      cell(sumOf(row), "the sum of the row", `${at}[${j}].sum()`)]})),
    {strong: true, cells: ["sum", ...[...Array(M).keys()].map(k => cell(sumOf(this.comb.map(row => row[k])), "the sum of the column",
      `${at}[:, ${k}].sum()`)), ""]}]);
  }

  tableStreams() {
    const size = row => Math.sqrt(sumOf(row.map(value => value * value)) / row.length);
    const rms = "root mean square of the stream's numbers";
    this.byStream.fill(this.streams.map((row, k) => ({cells: [String(k),
      number(this.reads[k], 3, `sigmoid(${this.pre[k].toFixed(3)}) + eps`, `explorer.reads()[${k}]`),
      number(this.writes[k], 3, `2 sigmoid(${this.post[k].toFixed(3)})`, `explorer.writes()[${k}]`),
      number(size(row), 2, rms, `(explorer.streams[${k}] ** 2).mean() ** 0.5`),
      number(size(this.next[k]), 2, `${rms}; the stream is post ${k} x the answer + the sum over j of comb j ${k} x stream j`,
        `(explorer.after()[${k}] ** 2).mean() ** 0.5`)]})));
  }

  drawFlow(dark) {
    const D = Math.min(COLUMNS, this.answer.length), values = [...this.streams, ...this.next].flatMap(row => row.slice(0, D));
    const most = Math.max(...values.map(Math.abs), 1e-9);
    this.flow.fill(values, 2 * this.pre.length, D, most, dark);
    this.flow.canvas.setAttribute("aria-label", `The first ${D} of ${this.answer.length} numbers of each stream, before and after; at most `
      + `${most.toFixed(2)}. The table of streams has their sizes.`);
  }

  flowTip(row, c) {
    const M = this.pre.length;
    return `stream ${row % M} ${row < M ? "before" : "after"}, number ${c}: ${this.flow.values[row * this.flow.columns + c].toFixed(3)}`;
  }

  drawCurve() {
    const {width, height, left, bottom, top, right} = CURVE, low = -8, high = 1;
    const found = this.film.map(({columns}) => errors(columns));
    const x = round => left + round / this.most * (width - left - right);
    const y = error => height - bottom - (clamp(Math.log10(Math.max(error, 1e-30)), low, high) - low) / (high - low) * (height - bottom - top);
    const parts = [];
    for (const power of [-8, -6, -4, -2, 0]) {
      parts.push(svg("line", {class: "grid", x1: left, x2: width - right, y1: y(10 ** power), y2: y(10 ** power)}),
        svgText(`1e${power}`, {x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end"}));
    }
    for (let round = 0; round <= this.most; round += 5) parts.push(svgText(String(round), {x: x(round), y: height - bottom + 16, "text-anchor": "middle"}));
    const line = side => found.map((error, round) => `${x(round).toFixed(1)},${y(error[side]).toFixed(1)}`).join(" ");
    this.curve.replaceChildren(...parts, svg("polyline", {class: "curve curve0", points: line(0)}),
      svg("polyline", {class: "curve curve1", points: line(1)}),
      svg("line", {class: "here", x1: x(this.rounds), x2: x(this.rounds), y1: top, y2: height - bottom}),
      svgText("rounds", {x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle"}));
    this.curve.setAttribute("aria-label", `Worst sums by round: rows ${found.filter((_, i) => i % 5 === 0).map(error => error[0].toExponential(0))
      .join(", ")} after rounds 0, 5, 10, 15, 20.`);
  }

  // ---- files ----

  rows() {
    return this.film.flatMap(({rows, columns}, round) => [["rows", rows], ["columns", columns]].flatMap(([step, matrix]) =>
      matrix.flatMap((row, j) => row.map((value, k) => [round, step, j, k, value]))));
  }

  saveCsv() { save("mixer.csv", "text/csv", csv([["round", "step", "from", "to", "value"], ...this.rows()])); }

  saveJson() {
    const {source, logits, pre, post, rounds, eps} = this;
    save("mixer.json", "application/json", JSON.stringify({source, logits, pre, post, rounds, eps, comb: this.comb, streams: this.streams,
      answer: this.answer, after: this.next}));
  }
}

export default shown(Mixer, "mixer");
