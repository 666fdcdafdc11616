// A heat map on a canvas: rows x columns of numbers, a frame around the selected cell, pointer and arrow keys.
// All cells are pixels of one small image, drawn large: 43 x 256 cost as little as 4 x 8.

const EDGE = {left: 34, bottom: 20};            // room for the numbers of rows and columns, in CSS pixels

class HeatMap {
  /** on.select(row, column), on.tip(row, column) -> text; on.row(r), on.column(c) -> a name other than the number; label: what a screen
      reader hears. */
  constructor(label, on) {
    this.on = on;
    this.row = this.column = 0;
    this.canvas = make("canvas", {tabindex: 0, role: "application", "aria-roledescription": "heat map", "aria-label": label,
      onkeydown: event => this.key(event), onpointerdown: event => this.press(event),
      onpointermove: event => this.hover(event), onpointerleave: () => { this.tip.hidden = true; }});
    this.tip = make("div", {class: "tip", hidden: true, "aria-hidden": "true"});
    this.told = make("span", {hidden: true, id: `told-${Math.random().toString(36).slice(2)}`});
    this.canvas.setAttribute("aria-describedby", this.told.id);
    this.element = make("div", {class: "holder"}, this.canvas, this.tip, this.told);
    this.pixels = document.createElement("canvas");
    new ResizeObserver(([entry]) => {           // asking for the width while drawing would make the browser lay the page out at once
      this.width = entry.contentRect.width || this.width;       // 0 while JupyterLab changes its theme
      this.paint();
    }).observe(this.element);
  }

  /** values: [rows * columns]; marked(row, column): gets a dot; most: the value of the full colour. */
  fill(values, rows, columns, most, dark, marked = null) {
    Object.assign(this, {values, rows, columns, most, dark, marked});
    const image = new ImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer), colours = new Uint32Array(Uint8Array.from(shades(dark).flat()).buffer);
    for (let i = 0; i < rows * columns; i++) pixels[i] = colours[shadeAt(values[i] / (most || 1))];
    if (this.pixels.width !== columns || this.pixels.height !== rows) [this.pixels.width, this.pixels.height] = [columns, rows];
    this.pixels.getContext("2d").putImageData(image, 0, 0);
    this.paint();
  }

  /** What a screen reader says of the selected cell. */
  describe(text) { say(this.told, text); }

  select(row, column) {
    this.row = row;
    this.column = column;
    this.paint();
  }

  paint() {
    const width = this.width;
    if (!this.values || !width) return;
    const cell = clamp(400 / this.rows, 9, 34);
    const height = Math.round(cell * this.rows) + EDGE.bottom;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.style.height = `${height}px`;
    if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio);
    if (this.canvas.height !== Math.round(height * ratio)) this.canvas.height = Math.round(height * ratio);
    this.size = {w: (width - EDGE.left) / this.columns, h: cell};
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.draw(context, width, height);
  }

  draw(context, width, height) {
    const {w, h} = this.size;
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.pixels, EDGE.left, 0, w * this.columns, h * this.rows);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    if (w > 30 && h > 18) this.numbers(context);
    if (this.marked) this.dots(context);
    this.axes(context, height);
    this.frame(context);
  }

  /** Values in cells that have room, dark on light and light on dark. */
  numbers(context) {
    context.textAlign = "center";
    for (let r = 0; r < this.rows; r++) {
      for (let c = 0; c < this.columns; c++) {
        const value = this.values[r * this.columns + c];
        const [red, green, blue] = shades(this.dark)[shadeAt(value / (this.most || 1))];
        context.fillStyle = inkOn(red, green, blue);
        const text = Number.isInteger(value) ? String(value) : value.toFixed(2);
        context.fillText(text, EDGE.left + (c + 0.5) * this.size.w, (r + 0.5) * this.size.h);
      }
    }
  }

  dots(context) {
    const {w, h} = this.size;
    const radius = clamp(Math.min(w, h) / 4, 1.5, 5);
    for (let r = 0; r < this.rows; r++) {
      for (const c of this.marked(r)) {
        context.beginPath();
        context.arc(EDGE.left + (c + 0.5) * w, (r + 0.5) * h - (w > 30 && h > 18 ? 10 : 0), radius, 0, 7);
        context.fillStyle = this.dark ? "#ffb054" : "#be5a00";
        context.fill();
        context.strokeStyle = this.dark ? "#000" : "#fff";
        context.lineWidth = 1;
        context.stroke();
      }
    }
  }

  axes(context, height) {
    const {w, h} = this.size;
    context.fillStyle = this.dark ? "#ddd" : "#333";
    context.textAlign = "right";
    const everyRow = Math.ceil(13 / h);
    for (let r = 0; r < this.rows; r += everyRow) context.fillText(this.on.row?.(r) ?? String(r), EDGE.left - 6, (r + 0.5) * h);
    context.textAlign = "center";
    const wanted = Math.ceil(26 / w);
    const every = [1, 2, 4, 8, 16, 32, 64, 128].find(step => step >= wanted) ?? wanted;
    for (let c = 0; c < this.columns; c += every) context.fillText(this.on.column?.(c) ?? String(c), EDGE.left + (c + 0.5) * w, height - EDGE.bottom / 2);
  }

  frame(context) {
    const {w, h} = this.size;
    context.strokeStyle = this.dark ? "#fff" : "#000";
    context.lineWidth = 1;
    context.globalAlpha = 0.5;
    if (this.row >= 0) context.strokeRect(EDGE.left, this.row * h + 0.5, w * this.columns - 1, h - 1);
    if (this.column >= 0) context.strokeRect(EDGE.left + this.column * w + 0.5, 0, Math.max(1, w - 1), h * this.rows);
    context.globalAlpha = 1;
    context.lineWidth = 3;
    if (this.row >= 0) context.strokeRect(EDGE.left + this.column * w, this.row * h, w, h);
  }

  /** The cell under a pointer, or null. */
  cell(event) {
    const box = this.canvas.getBoundingClientRect();
    if (!this.size || event.clientX - box.left < EDGE.left) return null;
    return [clamp(Math.floor((event.clientY - box.top) / this.size.h), 0, this.rows - 1),
      clamp(Math.floor((event.clientX - box.left - EDGE.left) / this.size.w), 0, this.columns - 1)];
  }

  press(event) {
    const cell = this.cell(event);
    if (cell) this.on.select(...cell);
  }

  hover(event) {
    const cell = this.cell(event);
    this.tip.hidden = !cell;
    if (!cell) return;
    say(this.tip, this.on.tip(...cell));
    const box = this.element.getBoundingClientRect();
    const x = event.clientX - box.left;
    this.tip.style.top = `${event.clientY - box.top + 16}px`;
    this.tip.style.left = x < box.width / 2 ? `${x + 12}px` : "auto";
    this.tip.style.right = x < box.width / 2 ? "auto" : `${box.width - x + 12}px`;
  }

  key(event) {
    const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -1e9], End: [0, 1e9],
      PageUp: [-1e9, 0], PageDown: [1e9, 0]}[event.key];
    if (!step) return;
    keep(event);
    this.on.select(clamp(this.row + step[0], 0, this.rows - 1), clamp(this.column + step[1], 0, this.columns - 1));
  }
}
