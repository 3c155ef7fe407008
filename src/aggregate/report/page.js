// Draws the report of a run from the JSON in the page; of a run that goes on, from the stream beside it.
//
// Names in the data come from users' scripts: they reach the page as text nodes and attributes only, never as markup.
"use strict";
(() => {
  // ---------------------------------------------------------------- elements

  const SVG = "http://www.w3.org/2000/svg";

  function put(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
    return node;
  }
  const h = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => put(document.createElementNS(SVG, tag), attributes, children);

  const ICONS = {
    passed: "M3.5 8.5l3 3 6-7",
    failed: "M4 4l8 8M12 4l-8 8",
    warn: "M8 4v5M8 11.8v.4",
    running: "M5.5 3.5l6 4.5-6 4.5z",
    none: "M4 8h8",
    stopped: "M4.5 4.5h7v7h-7z",
  };
  const icon = (name) =>
    svg("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
  const tag = (tone, shape, text, title) =>
    h("span", { class: `tag ${tone}`, title }, icon(shape), h("span", {}, text));
  const named = (text) => h("span", { class: "name" }, text);

  // ---------------------------------------------------------------- numbers

  const NB = "\u00a0";
  const NONE = "\u2013";
  const known = (value) => typeof value === "number" && Number.isFinite(value);
  const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
  const precise = (value, digits = 3) => +value.toPrecision(digits);

  function scaled(value, base, units, digits = 3) {
    let power = 0;
    let left = value;
    while (power < units.length - 1 && Math.abs(precise(left, digits)) >= base) {
      left /= base;
      power++;
    }
    return [precise(left, digits), units[power]];
  }
  const count = (value) => (known(value) ? scaled(value, 1000, ["", "k", "M", "G", "T"]).join("") : NONE);
  const exact = (value) => (known(value) ? grouped.format(value) : NONE);
  const perSecond = (value) => (known(value) ? `${count(value)}/s` : NONE);
  const bytes = (value) => (known(value) ? scaled(value, 1000, ["B", "kB", "MB", "GB", "TB"]).join(NB) : NONE);

  // A share that is not quite all, or not quite nothing, is never rounded to it.
  function percent(value) {
    if (!known(value)) return NONE;
    const hundred = value * 100;
    const size = Math.abs(hundred);
    if (size > 0 && size < 0.01) return `<0.01${NB}%`;
    if (size > 99 && size < 100)
      return size > 99.99 ? `>99.99${NB}%` : `${Math.floor(hundred * 100 + 1e-6) / 100}${NB}%`;
    return `${precise(hundred, size < 1 ? 2 : 3)}${NB}%`;
  }

  const two = (value) => String(value).padStart(2, "0");
  function ms(value) {
    if (!known(value)) return NONE;
    const size = Math.abs(value);
    if (size === 0) return `0${NB}ms`;
    if (size < 0.1) return `${precise(value * 1000)}${NB}µs`;
    if (size < 999.5) return `${precise(value)}${NB}ms`;
    if (size < 120000) return `${precise(value / 1000)}${NB}s`;
    return span(value);
  }
  function span(value) {
    if (!known(value)) return NONE;
    const seconds = Math.round(value / 1000);
    if (Math.abs(value) < 120000) return `${precise(value / 1000)}${NB}s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes}${NB}min ${two(seconds % 60)}${NB}s`;
    return `${Math.floor(minutes / 60)}${NB}h ${two(minutes % 60)}${NB}min`;
  }
  // A point of the run's time: 7 s, 1:07, 1:02:07.
  function clock(seconds) {
    if (!known(seconds)) return NONE;
    if (seconds < 60) return `${precise(seconds)}${NB}s`;
    const whole = Math.round(seconds);
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  }
  function signed(value) {
    const text = percent(Math.abs(value));
    return value < 0 ? `\u2212${text}` : `+${text}`;
  }

  const array = (value) => (Array.isArray(value) ? value : []);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  function median(values) {
    const sorted = values.filter(known).sort((a, b) => a - b);
    if (!sorted.length) return null;
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }
  const allOf = (list, did) => (list.length === 1 ? did : `all ${list.length} ${did}`);
  const groupName = (name) =>
    String(name ?? "")
      .split("::")
      .filter(Boolean)
      .join(" \u203a ");

  // ---------------------------------------------------------------- colours

  const root = document.documentElement;
  const ink = {};
  function readInk() {
    const style = getComputedStyle(root);
    for (const name of [
      "text",
      "muted",
      "line",
      "card",
      "bad",
      "warn",
      "rest",
      "c1",
      "c2",
      "c3",
      "c4",
      "c5",
      "c6",
      "c7",
      "c8",
    ]) {
      ink[name] = style.getPropertyValue(`--${name}`).trim();
    }
  }
  const PALETTE = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
  const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];

  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("k6-report-theme");
  } catch {
    // A page opened from a file may have no storage: the theme is then the system's.
  }
  const dark = () => (chosen ? chosen === "dark" : systemDark.matches);
  function applyTheme(forced) {
    root.dataset.theme = forced ?? (dark() ? "dark" : "light");
    readInk();
    for (const chart of charts.values()) chart.repaint();
    themeButton.textContent = dark() ? "Light theme" : "Dark theme";
  }
  const themeButton = h("button", { type: "button", class: "theme" });
  themeButton.addEventListener("click", () => {
    chosen = dark() ? "light" : "dark";
    try {
      localStorage.setItem("k6-report-theme", chosen);
    } catch {
      // It then lasts until the page is closed.
    }
    applyTheme();
  });
  systemDark.addEventListener("change", () => applyTheme());

  // ---------------------------------------------------------------- tables

  // How the viewer has arranged the page; a live report is drawn again and again and keeps it.
  const view = { sort: {}, filter: "", pinned: null, hovered: null };

  // A column: {label, cell(row), value(row) to sort by, num, wide}; the first one names the row.
  function table(id, caption, columns, rows, { row: dress, tall } = {}) {
    const body = h("tbody");
    const heads = columns.map((column, index) => {
      const head = h("th", { scope: "col", class: column.num && "num" });
      if (!column.value) return put(head, {}, [column.label]);
      const button = h("button", { type: "button", class: "sort", "data-key": `sort-${id}-${index}` }, column.label);
      button.addEventListener("click", () => {
        const now = view.sort[id];
        view.sort[id] = { index, down: now?.index === index ? !now.down : Boolean(column.num) };
        fill();
      });
      return put(head, {}, [button]);
    });
    function fill() {
      const sort = view.sort[id];
      heads.forEach((head, index) => {
        if (columns[index].value)
          head.setAttribute("aria-sort", sort?.index !== index ? "none" : sort.down ? "descending" : "ascending");
      });
      let shown = rows;
      if (sort) {
        const { value } = columns[sort.index];
        const missing = (key) => key == null || Number.isNaN(key);
        shown = [...rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (missing(x) || missing(y)) return missing(x) - missing(y);
          const order = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
          return sort.down ? -order : order;
        });
      }
      body.replaceChildren(
        ...shown.map((row) => {
          const line = h("tr");
          columns.forEach((column, index) => {
            const cell = index
              ? h("td", {
                  class:
                    [column.num && "num", column.wide && "wide", column.wide === "wider" && "wider"]
                      .filter(Boolean)
                      .join(" ") || null,
                })
              : h("th", { scope: "row", class: column.wide && "wide" });
            line.append(put(cell, {}, [column.cell(row)]));
          });
          dress?.(line, row);
          return line;
        }),
      );
    }
    fill();
    return h(
      "div",
      { class: tall ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": caption, "data-keep": id },
      h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads)), body),
    );
  }
  const number = (label, key, format = exact) => ({
    label,
    num: true,
    cell: (row) => format(row[key]),
    value: (row) => row[key],
  });
  const text = (label, key) => ({
    label,
    wide: true,
    cell: (row) => named(String(row[key] ?? "")),
    value: (row) => String(row[key] ?? ""),
  });

  // ---------------------------------------------------------------- charts

  const charts = new Map();
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];

  const alone = (values) => {
    const found = [];
    for (let i = 0; i < values.length; i++)
      if (values[i] != null && values[i - 1] == null && values[i + 1] == null) found.push(i);
    return found;
  };

  // One chart: spec is {id, title, series: [{label, color, dash, width, fill, scale, format}], right, limits(), legend}.
  class Chart {
    constructor(spec) {
      this.spec = spec;
      this.values = [];
      this.plot = h("div", { class: "plot", role: "img" });
      this.at = h("span", { class: "at" });
      this.legend = h("ul", { class: "legend" });
      this.node = h(
        "figure",
        { class: "chart", id: `chart-${spec.id}` },
        h("figcaption", {}, h("div", { class: "head" }, h("h3", {}, spec.title), this.at), this.legend),
        this.plot,
      );
      this.values = spec.series.map((series) => this.entry(series));
      this.watch = new ResizeObserver(() => this.fit());
      this.watch.observe(this.plot);
    }

    entry(series) {
      if (series.silent) return null;
      const value = h("span", { class: "value" });
      const line = svg("line", {
        x1: 1,
        x2: 21,
        y1: 5,
        y2: 5,
        "stroke-width": Math.max(2, series.width ?? 2),
        "stroke-dasharray": (series.dash ?? []).join(" ") || null,
      });
      line.style.stroke = `var(--${series.color})`;
      const swatch = svg("svg", { viewBox: "0 0 22 10", class: "swatch", "aria-hidden": "true" }, line);
      const index = this.spec.series.indexOf(series) + 1;
      const button = h(
        "button",
        { type: "button", "aria-pressed": "true", title: "Show or hide this line" },
        swatch,
        h("span", {}, series.label),
        value,
      );
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(show));
        this.u?.setSeries(index, { show });
      });
      this.legend.append(h("li", {}, button));
      return value;
    }

    options(width, height) {
      const axis = (scale, extra) => ({
        scale,
        stroke: () => ink.muted,
        font: "11px system-ui, sans-serif",
        ticks: { show: false },
        grid: { stroke: () => ink.line, width: 1 },
        ...extra,
      });
      const format = (scale) => this.spec.series.find((series) => (series.scale ?? "y") === scale)?.format ?? count;
      const wide = (scale) => (u, values) =>
        Math.ceil(10 + 6.4 * Math.max(scale === "y" ? 6 : 3, ...array(values).map((value) => String(value).length)));
      const vertical = (scale, extra) =>
        axis(scale, {
          values: (u, splits) => splits.map((value) => format(scale)(value)),
          size: wide(scale),
          gap: 4,
          space: 34,
          ...extra,
        });
      const range = (u, low, high) => {
        const top = Math.max(high ?? 0, this.spec.top?.() ?? 0);
        return [0, top > 0 ? top * 1.08 : 1];
      };
      return {
        width,
        height,
        padding: [8, this.spec.right ? 0 : 18, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          points: { size: 7, show: !this.spec.series.some((series) => series.silent) },
          drag: { x: true, y: false, dist: 8 },
          focus: this.spec.focus ? { prox: 30 } : undefined,
          sync: { key: "run", setSeries: false },
        },
        focus: { alpha: 1 },
        scales: {
          x: { time: false, range: (u, from, to) => [from, u.data[0].length > 1 ? to : from + 10] },
          y: { range },
          ...(this.spec.right ? { [this.spec.right]: { range } } : {}),
        },
        axes: [
          axis("x", { incrs: STEPS, values: (u, splits) => splits.map(clock), size: 28, gap: 7, space: 56 }),
          vertical("y"),
          ...(this.spec.right ? [vertical(this.spec.right, { side: 1, grid: { show: false } })] : []),
        ],
        series: [
          {},
          ...this.spec.series.map((series) => ({
            label: series.label,
            scale: series.scale ?? "y",
            stroke: () => series.paint?.() ?? ink[series.color],
            fill: series.fill ? () => `${ink[series.color]}22` : undefined,
            width: Math.min(series.width ?? 2, this.data[0].length > 400 ? 1.25 : Infinity),
            dash: series.dash,
            // A number without neighbours makes no line: it is a dot.
            points: {
              show: true,
              size: 4,
              width: 0,
              fill: () => ink[series.color],
              filter: (u, at) => alone(u.data[at]),
            },
          })),
        ],
        hooks: {
          setCursor: [() => this.read()],
          // uPlot calls it for the chart below the cursor only, though the cursor moves in all of them.
          setSeries: this.spec.focus ? [(u, index, change) => change.focus != null && this.spec.focus(index)] : [],
          draw: [(u) => this.over(u)],
        },
      };
    }

    update(data) {
      this.data = data;
      if (!this.u) return this.fit();
      const { min, max } = this.u.scales.x;
      const before = this.u.data[0];
      const zoomed = before.length > 1 && (min > before[0] || max < before[before.length - 1]);
      this.u.setData(data, !zoomed);
      if (zoomed) this.u.redraw();
      this.read();
      this.describe();
    }

    fit(width = Math.floor(this.plot.clientWidth), height) {
      if (!this.data || width < 50) return;
      const size = { width, height: height ?? (width < 420 ? 170 : 200) };
      if (this.u) {
        if (this.u.width !== size.width || this.u.height !== size.height) this.u.setSize(size);
        return;
      }
      this.u = new uPlot(this.options(size.width, size.height), this.data, this.plot);
      this.read();
      this.describe();
    }

    repaint() {
      this.u?.redraw(false, true);
    }

    // The legend's values: those under the cursor, or else each line's mean.
    read() {
      if (!this.u) return;
      const index = this.u.cursor.idx;
      this.at.textContent = index == null ? "" : `at ${clock(this.data[0][index])}`;
      this.values.forEach((value, i) => {
        if (!value) return;
        const format = this.spec.series[i].format ?? count;
        if (index != null) value.textContent = format(this.data[i + 1][index]);
        else {
          const all = this.data[i + 1].filter(known);
          value.textContent = all.length ? `\u00d8${NB}${format(sum(all) / all.length)}` : NONE;
        }
      });
      this.spec.note?.(this, index);
    }

    describe() {
      const at = this.data[0];
      const lines = this.spec.series
        .map((series, i) => {
          const all = array(this.data[i + 1]).filter(known);
          if (!all.length || series.silent) return null;
          const format = series.format ?? count;
          return `${series.label}: lowest ${format(all.reduce((a, b) => Math.min(a, b)))}, mean ${format(sum(all) / all.length)}, highest ${format(all.reduce((a, b) => Math.max(a, b)))}`;
        })
        .filter(Boolean);
      const label = `${this.spec.title}, from ${clock(at[0])} to ${clock(at[at.length - 1])} of the run. ${lines.slice(0, 8).join(". ")}`;
      this.plot.setAttribute("aria-label", label.replaceAll(NB, " "));
    }

    // What lies over the lines: limits of thresholds, and the runner that is being looked at.
    over(u) {
      const { ctx, bbox } = u;
      const ratio = devicePixelRatio || 1;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      for (const { value, label } of this.spec.limits?.() ?? []) {
        const y = u.valToPos(value, "y", true);
        if (!(y > bbox.top + 4 * ratio && y < bbox.top + bbox.height)) continue;
        ctx.strokeStyle = ink.muted;
        ctx.fillStyle = ink.muted;
        ctx.lineWidth = ratio;
        ctx.setLineDash([4 * ratio, 4 * ratio]);
        ctx.beginPath();
        ctx.moveTo(bbox.left, Math.round(y) + 0.5);
        ctx.lineTo(bbox.left + bbox.width, Math.round(y) + 0.5);
        ctx.stroke();
        ctx.font = `${11 * ratio}px system-ui, sans-serif`;
        ctx.textAlign = "right";
        ctx.textBaseline = y < bbox.top + 18 * ratio ? "top" : "bottom";
        const place = [bbox.left + bbox.width - 4 * ratio, y + (ctx.textBaseline === "top" ? 3 : -3) * ratio];
        ctx.setLineDash([]);
        ctx.strokeStyle = ink.card;
        ctx.lineWidth = 3 * ratio;
        ctx.strokeText(label, ...place);
        ctx.fillText(label, ...place);
      }
      const lit = this.spec.lit?.();
      if (lit) {
        ctx.setLineDash([]);
        ctx.lineJoin = "round";
        const dense = u.data[0].length > 400;
        for (const [stroke, width] of dense
          ? [[ink[lit.color], 1.5]]
          : [
              [ink.card, 5],
              [ink[lit.color], 2.5],
            ]) {
          ctx.strokeStyle = stroke;
          ctx.lineWidth = width * ratio;
          ctx.beginPath();
          let pen = false;
          u.data[0].forEach((x, i) => {
            const value = lit.values[i];
            if (known(value)) {
              const [px, py] = [u.valToPos(x, "x", true), u.valToPos(value, "y", true)];
              if (pen) ctx.lineTo(px, py);
              else ctx.moveTo(px, py);
            }
            pen = known(value);
          });
          ctx.stroke();
        }
      }
      ctx.restore();
    }

    remove() {
      this.watch.disconnect();
      this.u?.destroy();
      this.node.remove();
    }
  }

  // Puts a chart where its section wants it, with new data or, if its lines have become others, as a new one.
  function chart(box, spec, data) {
    let now = charts.get(spec.id);
    const shape = JSON.stringify(spec.series);
    if (now && now.shape !== shape) {
      now.remove();
      charts.delete(spec.id);
      now = null;
    }
    if (!now) {
      now = new Chart(spec);
      now.shape = shape;
      charts.set(spec.id, now);
      box.append(now.node);
    }
    now.update(data);
  }
  function inOrder(box, ids) {
    const nodes = ids.map((id) => charts.get(id)?.node).filter(Boolean);
    if (nodes.some((node, i) => box.children[i] !== node)) box.append(...nodes);
  }
  function dropChart(id) {
    charts.get(id)?.remove();
    charts.delete(id);
  }

  // Lines as long as the time axis, with null where there is no number.
  const line = (values, length) => Array.from({ length }, (_, i) => (known(values?.[i]) ? values[i] : null));
  const some = (values) => array(values).some(known);

  function drawCharts(box, report) {
    const time = report.time ?? {};
    const at = array(time.at);
    const specs = at.length
      ? [
          {
            id: "rate",
            title: "Requests and virtual users",
            right: "vus",
            series: [
              { key: "requests", label: "requests", color: "c1", fill: true, format: perSecond },
              { key: "vus", label: "VUs", color: "c2", dash: [6, 4], scale: "vus", format: count },
            ],
          },
          {
            id: "latency",
            title: "Response time",
            limits: () => limitsOf("http_req_duration", /^p\(|^med|^avg/),
            series: [
              { key: "p50", label: "p50", color: "c3", width: 1.5, format: ms },
              { key: "p90", label: "p90", color: "c1", width: 1.5, dash: [7, 4], format: ms },
              { key: "p95", label: "p95", color: "c2", width: 2.25, format: ms },
              { key: "p99", label: "p99", color: "c7", width: 1.5, dash: [2, 3], format: ms },
            ],
          },
          {
            id: "errors",
            title: "Failed requests",
            limits: () => limitsOf("http_req_failed", /^rate/),
            series: [{ key: "failed", label: "failed", color: "c2", fill: true, format: percent }],
          },
          {
            id: "iterations",
            title: "Iterations",
            series: [{ key: "iterations", label: "iterations", color: "c3", fill: true, format: perSecond }],
          },
        ]
      : [];
    const ids = ["rate", "latency", "errors", "iterations"];
    for (const id of ids) {
      const spec = specs.find((one) => one.id === id);
      if (spec) {
        spec.series = spec.series.filter((series) => some(time[series.key]));
        if (!spec.series.some((series) => series.scale)) delete spec.right;
      }
      if (!spec?.series.length) dropChart(id);
      else chart(box, spec, [at, ...spec.series.map((series) => line(time[series.key], at.length))]);
    }
    inOrder(box, ids);
  }
  const limitsOf = (metric, aggregation) =>
    array(current.thresholds)
      .filter((one) => one.metric === metric && known(one.limit) && aggregation.test(String(one.expression).trim()))
      .map((one) => ({ value: one.limit, label: one.expression }));

  // ---------------------------------------------------------------- runners

  const FEW = 8;
  const MANY = 100;
  const SHOWN = 20;

  // How far each runner is from the others: marked when it is far outside their usual spread and by more than a fifth.
  function deviations(runners) {
    const found = new Map(runners.map((one) => [one.runner, { score: 0, marks: [] }]));
    const judge = (key, words, least) => {
      const middle = median(runners.map((one) => one[key]));
      if (middle == null) return;
      const spread =
        median(runners.filter((one) => known(one[key])).map((one) => Math.abs(one[key] - middle))) * 1.4826;
      for (const one of runners) {
        if (!known(one[key])) continue;
        const away = one[key] - middle;
        const share = middle ? away / middle : 0;
        const entry = found.get(one.runner);
        entry.score = Math.max(entry.score, key === "failedRate" ? Math.abs(away) * 5 : Math.abs(share));
        if (runners.length > 2 && Math.abs(away) > Math.max(5 * spread, least(middle)))
          entry.marks.push(words(away, share));
      }
    };
    judge(
      "requests",
      (away, share) => `requests ${signed(share)}`,
      (middle) => middle * 0.2,
    );
    judge(
      "p95",
      (away, share) => `p95 ${signed(share)}`,
      (middle) => middle * 0.2,
    );
    judge(
      "failedRate",
      (away) => `failures ${signed(away)}`,
      () => 0.02,
    );
    return found;
  }

  let fleet = { runners: [], found: new Map(), shown: [] };
  const runnerOf = (id) => fleet.runners.find((one) => one.runner === id);
  const litRunner = () => view.hovered ?? view.pinned;
  function look(change) {
    const before = litRunner();
    Object.assign(view, change);
    for (const row of document.querySelectorAll("tr[data-runner]")) {
      row.classList.toggle("lit", row.dataset.runner === String(litRunner()));
      row
        .querySelector("button[aria-pressed]")
        ?.setAttribute("aria-pressed", String(row.dataset.runner === String(view.pinned)));
    }
    if (before === litRunner()) return;
    for (const id of ["runner-rate", "runner-p95"]) {
      charts.get(id)?.repaint();
      charts.get(id)?.read();
    }
  }

  function drawRunnerCharts(box, report) {
    const at = array(report.time?.at);
    const { runners, shown } = fleet;
    const few = runners.length <= FEW;
    const colorOf = (id) =>
      few
        ? PALETTE[fleet.shown.findIndex((one) => one.runner === id) % PALETTE.length]
        : fleet.found.get(id)?.marks.length
          ? "c2"
          : "rest";
    for (const [id, title, key, format] of [
      ["runner-rate", "Request rate by runner", "requestsOverTime", perSecond],
      ["runner-p95", "p95 by runner", "p95OverTime", ms],
    ]) {
      if (!at.length || runners.length < 2 || !runners.some((one) => some(one[key]))) {
        dropChart(id);
        continue;
      }
      const series = shown.map((one, i) => ({
        label: `runner ${one.runner}`,
        color: few ? colorOf(one.runner) : "rest",
        dash: few ? DASHES[i >> 1] : [],
        width: few ? 1.75 : 1.25,
        silent: !few,
        format,
      }));
      for (const [i, one] of series.entries()) {
        const mine = shown[i].runner;
        Object.defineProperty(one, "paint", {
          value: () => {
            const lit = litRunner();
            const color = ink[colorOf(mine)];
            return lit == null || lit === mine ? color : `${color}55`;
          },
        });
      }
      const data = shown.map((one) => line(one[key], at.length));
      if (!few) {
        series.push({ label: "median", color: "text", dash: [6, 3], width: 2, format });
        data.push(at.map((_, i) => median(runners.map((one) => one[key]?.[i] ?? null))));
      }
      const top = runners.reduce(
        (most, one) => array(one[key]).reduce((a, b) => (known(b) ? Math.max(a, b) : a), most),
        0,
      );
      const spec = { id, title, series, key, topmost: top };
      // Functions stay outside of what says whether the chart is still the same.
      spec.top = () =>
        litRunner() != null && !fleet.shown.some((one) => one.runner === litRunner())
          ? (charts.get(id)?.topmost ?? 0)
          : 0;
      spec.focus = (index) => look({ hovered: index == null ? null : (fleet.shown[index - 1]?.runner ?? null) });
      spec.lit = () => {
        const one = runnerOf(litRunner());
        return one && { values: array(one[key]), color: few ? colorOf(one.runner) : "c1" };
      };
      spec.note = (self, index) => {
        const one = runnerOf(litRunner());
        if (few || !self.mark) return;
        const value = one && index != null ? format(one[key]?.[index]) : "";
        self.mark.textContent = one ? `runner ${one.runner}${value && `: ${value}`}` : "";
      };
      chart(box, spec, [at, ...data]);
      const made = charts.get(id);
      made.topmost = top;
      if (!few && !made.mark) {
        made.mark = h("span", { class: "mark" });
        const key = (color, words) => {
          const stroke = svg("line", { x1: 1, x2: 21, y1: 5, y2: 5, "stroke-width": 2 });
          stroke.style.stroke = `var(--${color})`;
          return h(
            "li",
            { class: "key" },
            svg("svg", { viewBox: "0 0 22 10", class: "swatch", "aria-hidden": "true" }, stroke),
            words,
          );
        };
        made.legend.append(
          key("rest", "a runner"),
          key("c2", "one that deviates"),
          h("li", { class: "key" }, made.mark),
        );
      }
    }
  }

  function runnerState(one) {
    if (one.state === "lost") return tag("bad", "failed", "lost");
    if (one.state === "running") return tag("plain", "running", "running");
    if (known(one.exit) && one.exit !== 0)
      return tag(
        one.exit === 99 ? "warn" : "bad",
        one.exit === 99 ? "warn" : "failed",
        `exit ${one.exit}`,
        one.exit === 99 ? "A threshold was crossed" : null,
      );
    return tag("plain", "passed", one.state ?? NONE);
  }

  function drawRunners() {
    const { runners, found } = fleet;
    const middle = { requests: median(runners.map((one) => one.requests)), p95: median(runners.map((one) => one.p95)) };
    const columns = [
      {
        label: "Runner",
        value: (one) => one.runner,
        cell: (one) => {
          const button = h(
            "button",
            {
              type: "button",
              class: "pin",
              "aria-pressed": String(view.pinned === one.runner),
              "data-key": `pin-${one.runner}`,
              title: "Keep this runner highlighted in the charts",
            },
            `runner ${one.runner}`,
          );
          return button;
        },
      },
      { label: "State", cell: runnerState, value: (one) => `${one.state} ${one.exit ?? ""}` },
      number("Requests", "requests"),
      number("Failed", "failedRate", percent),
      number("p95", "p95", ms),
      {
        label: "Compared with the median",
        value: (one) => -found.get(one.runner).score,
        cell: (one) => {
          const { marks } = found.get(one.runner);
          return marks.length
            ? h(
                "span",
                { class: "marks" },
                marks.map((mark) => tag("warn", "warn", mark)),
              )
            : h("span", { class: "quiet" }, runners.length > 2 ? "as the others" : NONE);
        },
      },
    ];
    const odd = runners.filter((one) => found.get(one.runner).marks.length).length;
    const lost = runners.filter((one) => one.state === "lost").length;
    const says = [
      middle.requests != null && `median ${exact(Math.round(middle.requests))} requests`,
      middle.p95 != null && `p95 ${ms(middle.p95)}`,
      runners.length > 2 && (odd ? `${odd} deviate${odd === 1 ? "s" : ""} strongly` : "none deviates strongly"),
      lost && `${lost} lost`,
    ]
      .filter(Boolean)
      .join(" \u00b7 ");
    return [
      h(
        "p",
        { class: "says" },
        says,
        fleet.shown.length < runners.length &&
          `. The charts show the ${SHOWN} of ${runners.length} runners that deviate most from the median; choose any other in the table to see it.`,
      ),
      table("runners", "Runners: state, requests, failures and p95 of each", columns, runners, {
        tall: true,
        row: (row, one) => {
          row.dataset.runner = one.runner;
          row.classList.toggle("lit", litRunner() === one.runner);
          row.classList.toggle("odd", found.get(one.runner).marks.length > 0);
          row.addEventListener("mouseenter", () => look({ hovered: one.runner }));
          row.addEventListener("mouseleave", () => look({ hovered: null }));
          row.addEventListener("click", () => look({ pinned: view.pinned === one.runner ? null : one.runner }));
        },
      }),
    ];
  }

  // ---------------------------------------------------------------- header

  const VERDICTS = {
    Passed: ["ok", "passed"],
    Failed: ["bad", "failed"],
    Aborted: ["warn", "stopped"],
    Error: ["bad", "warn"],
  };
  let link = "";

  function instant(text, options) {
    const when = new Date(text);
    if (Number.isNaN(when.getTime())) return null;
    return h(
      "time",
      { datetime: when.toISOString(), title: `${when.toISOString()} (UTC)` },
      new Intl.DateTimeFormat("en-GB", options).format(when),
    );
  }

  function drawHeader(report) {
    const [tone, shape] = VERDICTS[report.result] ?? (report.live ? ["live", "running"] : ["warn", "none"]);
    const verdict = report.result ?? (report.live ? "Running" : "No verdict");
    const name = String(report.name ?? "");
    const slash = name.indexOf("/") + 1;
    const facts = [
      ["Started", instant(report.started, { dateStyle: "medium", timeStyle: "long" })],
      [report.live ? "Running for" : "Duration", known(report.durationMs) && span(report.durationMs)],
      ["Runners", known(report.runners) && exact(report.runners)],
      ["Start spread", known(report.startSpreadMs) && ms(report.startSpreadMs)],
      ["k6", report.k6Version],
    ].filter(([, value]) => value);
    document.title = `${verdict}: ${name}`;
    const missing = array(report.incomplete);
    return [
      h(
        "div",
        { class: `hero ${tone}` },
        h(
          "div",
          { class: "line" },
          h("span", { id: "verdict", class: `badge ${tone}` }, icon(shape), verdict),
          h("h1", {}, h("span", { class: "quiet" }, name.slice(0, slash)), name.slice(slash)),
          report.kind && h("span", { class: "kind" }, report.kind),
        ),
        (report.message || report.reason) &&
          h("p", { id: "message" }, report.message, report.reason && h("span", { class: "reason" }, report.reason)),
        h(
          "dl",
          { class: "facts" },
          facts.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))),
        ),
      ),
      report.complete === false &&
        h(
          "div",
          { id: "incomplete", class: "box", role: "note" },
          h(
            "p",
            {},
            icon("warn"),
            h("strong", {}, "The numbers are incomplete."),
            " What is below is what was received.",
          ),
          missing.length > 0 &&
            h(
              "ul",
              {},
              missing.map((one) => h("li", {}, one)),
            ),
        ),
    ].filter(Boolean);
  }

  // ---------------------------------------------------------------- sections

  function drawTiles(report) {
    const totals = report.totals ?? {};
    const rate = known(totals.checksPassed) && totals.checksTotal > 0 ? totals.checksPassed / totals.checksTotal : null;
    const tile = (label, value, below, title) =>
      value !== NONE &&
      h(
        "div",
        { class: "tile", title },
        h("dt", {}, label),
        h("dd", {}, h("span", { class: "big" }, value), below && h("span", { class: "below" }, below)),
      );
    const tiles = [
      tile(
        "Requests",
        count(totals.requests),
        known(totals.requestRate) && perSecond(totals.requestRate),
        exact(totals.requests),
      ),
      tile(
        "Failed requests",
        percent(totals.failedRate),
        known(totals.failedRate) &&
          known(totals.requests) &&
          `about ${count(Math.round(totals.failedRate * totals.requests))}`,
      ),
      tile("Response time p95", ms(totals.p95), "95 of 100 were faster"),
      tile(
        "Iterations",
        count(totals.iterations),
        known(totals.iterationRate) && perSecond(totals.iterationRate),
        exact(totals.iterations),
      ),
      tile(
        "Virtual users",
        count(totals.vusMax ?? totals.vus),
        report.live && known(totals.vus) ? `at most; ${count(totals.vus)} now` : "at most",
      ),
      tile(
        "Checks passed",
        percent(rate),
        rate != null && `${exact(totals.checksPassed)} of ${exact(totals.checksTotal)}`,
      ),
      tile("Data received", bytes(totals.dataReceived), known(totals.dataSent) && `${bytes(totals.dataSent)} sent`),
    ].filter(Boolean);
    return tiles.length ? [h("dl", { class: "tiles" }, tiles)] : [];
  }

  // How a threshold's numbers are written depends on what its metric measures.
  function measure(one) {
    const base = String(one.metric).split("{")[0];
    const metric = array(current.metrics).find((other) => other.name === base);
    const expression = String(one.expression).trim();
    if (one.unit === "ms") return ms;
    if (metric?.contains === "data") return expression.startsWith("rate") ? (value) => `${bytes(value)}/s` : bytes;
    if (expression.startsWith("rate")) {
      if (metric?.type === "rate" || (!metric && Math.abs(one.limit) <= 1)) return percent;
      if (metric?.type === "counter" || !metric) return perSecond;
    }
    return (value) => (known(value) ? `${exact(precise(value, 6))}${one.unit ? NB + one.unit : ""}` : NONE);
  }
  // Two numbers that differ are never written as the same.
  function apart(one, value) {
    const write = measure(one);
    if (!known(value) || !known(one.limit) || value === one.limit || write(value) !== write(one.limit))
      return write(value);
    if (write === percent) return `${precise(value * 100, 6)}${NB}%`;
    return `${precise(value, 7)}${one.unit ? NB + one.unit : ""}`;
  }
  const wantsLess = (one) => !/>/.test(String(one.expression));
  const rank = (one) => (one.passed === false ? 0 : one.uncertain ? 1 : one.passed == null ? 2 : 3);

  function thresholdBar(one) {
    const { value, limit } = one;
    const most = Math.max(value ?? 0, limit ?? 0, one.high ?? 0);
    if (!known(value) || !known(limit) || most <= 0 || value < 0 || limit < 0) return "";
    const [width, full] = [130, most * 1.12];
    const x = (number) => (Math.max(0, number) / full) * width;
    const allowed = wantsLess(one) ? [0, x(limit)] : [x(limit), width - x(limit)];
    return svg(
      "svg",
      {
        viewBox: `0 0 ${width} 18`,
        class: `bar ${one.passed === false ? "bad" : one.passed ? "ok" : "plain"}`,
        "aria-hidden": "true",
      },
      svg("rect", { class: "track", x: 0, y: 5, width, height: 8, rx: 2 }),
      svg("rect", { class: "allowed", x: allowed[0], y: 5, width: Math.max(0, allowed[1]), height: 8 }),
      svg("rect", { class: "value", x: 0, y: 7, width: Math.max(1, x(value)), height: 4 }),
      known(one.low) &&
        known(one.high) &&
        svg("path", { class: "bound", d: `M${x(one.low)} 4v10M${x(one.low)} 9H${x(one.high)}M${x(one.high)} 4v10` }),
      svg("rect", { class: "limit", x: x(limit) - 1, y: 1, width: 2, height: 16 }),
    );
  }

  function drawThresholds(report) {
    const all = array(report.thresholds);
    if (!all.length) return [];
    const margin = (one) => {
      if (!known(one.value) || !known(one.limit)) return null;
      const room = wantsLess(one) ? one.limit - one.value : one.value - one.limit;
      return one.limit ? room / Math.abs(one.limit) : room && Math.sign(room) * Infinity;
    };
    const marginText = (one) => {
      const room = margin(one);
      if (room == null) return NONE;
      if (room === 0) return "at the limit";
      const size = Number.isFinite(room) ? percent(Math.abs(room)) : measure(one)(Math.abs(one.value - one.limit));
      return room < 0 ? `${size} beyond` : `${size} to spare`;
    };
    const columns = [
      {
        label: "Verdict",
        value: rank,
        cell: (one) =>
          h(
            "span",
            { class: "marks" },
            one.passed === false
              ? tag("bad", "failed", "failed")
              : one.passed
                ? tag("ok", "passed", "passed")
                : tag("plain", "none", "not evaluated"),
            one.uncertain && tag("warn", "warn", "uncertain"),
            one.aborted && tag("warn", "stopped", "aborted the run"),
          ),
      },
      {
        label: "Metric",
        wide: "wider",
        value: (one) => String(one.metric),
        cell: (one) => h("code", { class: "name" }, one.metric),
      },
      {
        label: "Expression",
        value: (one) => String(one.expression),
        cell: (one) => h("code", { class: "name" }, one.expression),
      },
      {
        label: "Measured",
        num: true,
        value: (one) => one.value,
        cell: (one) =>
          h(
            "span",
            {},
            h("strong", {}, apart(one, one.value)),
            known(one.low) &&
              known(one.high) &&
              one.low !== one.high &&
              h(
                "span",
                { class: "below", title: "The error bound of the merged histogram" },
                `${apart(one, one.low)} \u2013 ${apart(one, one.high)}`,
              ),
          ),
      },
      { label: "Limit", num: true, value: (one) => one.limit, cell: (one) => measure(one)(one.limit) },
      { label: "Margin", num: true, value: margin, cell: (one) => marginText(one) },
      {
        label: "Against the limit",
        cell: (one) =>
          h(
            "span",
            {},
            thresholdBar(one),
            one.uncertain &&
              h(
                "span",
                { class: "below warntext" },
                `uncertain: the error bound [${apart(one, one.low)}, ${apart(one, one.high)}] straddles the limit`,
              ),
          ),
      },
    ];
    const failed = all.filter((one) => one.passed === false).length;
    const unsure = all.filter((one) => one.uncertain).length;
    const says = failed
      ? `${failed} of ${all.length} failed`
      : all.every((one) => one.passed)
        ? allOf(all, "passed")
        : `none of ${all.length} failed`;
    const sorted = all
      .map((one, i) => [one, i])
      .sort((a, b) => rank(a[0]) - rank(b[0]) || a[1] - b[1])
      .map(([one]) => one);
    return [
      h("p", { class: "says" }, says, report.live && " so far", unsure > 0 && ` \u00b7 ${unsure} uncertain`),
      table("thresholds", "Thresholds: measured values against limits", columns, sorted),
    ];
  }

  function share(passes, total) {
    if (!(total > 0)) return NONE;
    const full = h("span", { class: "meter", "aria-hidden": "true" }, h("span"));
    full.firstChild.style.width = `${(passes / total) * 100}%`;
    return h("span", { class: "share" }, full, percent(passes / total));
  }

  function drawChecks(report) {
    const all = array(report.checks);
    if (!all.length) return [];
    const total = (one) => (one.passes ?? 0) + (one.fails ?? 0);
    const failing = all.filter((one) => one.fails > 0);
    const columns = [
      text("Check", "name"),
      {
        label: "Group",
        wide: true,
        value: (one) => groupName(one.group),
        cell: (one) => named(groupName(one.group) || NONE),
      },
      {
        label: "Result",
        value: (one) => one.fails ?? 0,
        cell: (one) =>
          one.fails > 0 ? tag("bad", "failed", `${exact(one.fails)} failed`) : tag("ok", "passed", "passed"),
      },
      number("Passes", "passes"),
      number("Fails", "fails"),
      {
        label: "Passed",
        num: true,
        value: (one) => (total(one) ? one.passes / total(one) : null),
        cell: (one) => share(one.passes, total(one)),
      },
    ];
    const sorted = [...failing, ...all.filter((one) => !(one.fails > 0))];
    return [
      h(
        "p",
        { class: "says" },
        failing.length ? `${failing.length} of ${all.length} failed at least once` : allOf(all, "always passed"),
      ),
      table("checks", "Checks: how often each passed and failed", columns, sorted, { tall: true }),
    ];
  }

  const drawGroups = (report) => {
    const rows = array(report.groups).map((one) => ({ ...one, name: groupName(one.name) || NONE }));
    return rows.length
      ? [
          table(
            "groups",
            "Groups: how long they took",
            [
              text("Group", "name"),
              number("Count", "count"),
              number("Mean", "avg", ms),
              number("Median", "med", ms),
              number("p95", "p95", ms),
              number("Max", "max", ms),
            ],
            rows,
            { tall: true },
          ),
        ]
      : [];
  };
  const drawScenarios = (report) => {
    const rows = array(report.scenarios);
    return rows.length
      ? [
          table(
            "scenarios",
            "Scenarios: iterations, requests and failures of each",
            [
              text("Scenario", "name"),
              number("Iterations", "iterations"),
              number("Requests", "requests"),
              number("p95", "p95", ms),
              number("Failed", "failedRate", percent),
            ],
            rows,
            { tall: true },
          ),
        ]
      : [];
  };

  function drawRequests(report) {
    const all = [...array(report.requests)].sort((a, b) => (b.count ?? 0) - (a.count ?? 0));
    if (!all.length) return [];
    const result = (one) => {
      const said = String(one.result || NONE);
      const good = one.expected ?? (said === NONE || /^[123]\d\d$/.test(said));
      return good ? said : tag("bad", "failed", said);
    };
    const methods = all.some((one) => one.method);
    const columns = [
      text("Request", "name"),
      ...(methods
        ? [{ label: "Method", cell: (one) => named(one.method || NONE), value: (one) => String(one.method ?? "") }]
        : []),
      { label: "Result", cell: result, value: (one) => String(one.result ?? "") },
      number("Count", "count"),
      number("Mean", "avg", ms),
      number("p95", "p95", ms),
      number("Max", "max", ms),
    ];
    const says = h("p", { class: "says", role: "status" });
    const box = h("div");
    const field = h("input", {
      type: "search",
      id: "filter",
      "data-key": "filter",
      placeholder: "Filter by name or result",
      "aria-label": "Filter the requests by name or result",
      autocomplete: "off",
      spellcheck: "false",
    });
    field.value = view.filter;
    function fill() {
      const words = view.filter.toLowerCase().split(/\s+/).filter(Boolean);
      const fitting = all.filter((one) => {
        const hay = `${one.name} ${one.method} ${one.result}`.toLowerCase();
        return words.every((word) => hay.includes(word));
      });
      says.textContent = `${words.length ? `${fitting.length} of ${all.length} fit` : `${all.length} in all`}${fitting.length > 50 ? "; shown are the 50 most frequent" : ""}`;
      box.replaceChildren(
        table("requests", "Requests: how many of each and how long they took", columns, fitting.slice(0, 50), {
          tall: true,
        }),
      );
    }
    field.addEventListener("input", () => {
      view.filter = field.value;
      fill();
    });
    fill();
    return [h("div", { class: "bar-line" }, says, field), box];
  }

  const ORDER = [
    "count",
    "rate",
    "value",
    "passes",
    "fails",
    "avg",
    "min",
    "med",
    "p(50)",
    "p(90)",
    "p(95)",
    "p(99)",
    "max",
  ];
  function drawMetrics(report) {
    const all = array(report.metrics);
    if (!all.length) return [];
    const write = (metric, key, value) => {
      if (metric.type === "rate" && (key === "rate" || key === "value")) return percent(value);
      const plain = metric.contains === "time" && key !== "count" ? ms : metric.contains === "data" ? bytes : exact;
      if (key === "rate") return plain === exact ? perSecond(value) : `${plain(value)}/s`;
      return plain(value);
    };
    const rankOf = (key) => (ORDER.includes(key) ? ORDER.indexOf(key) : ORDER.length - 1.5);
    const kinds = ["trend", "counter", "rate", "gauge"];
    const types = [...new Set(all.map((one) => one.type))].sort(
      (a, b) => ((kinds.indexOf(a) + 9) % 9) - ((kinds.indexOf(b) + 9) % 9),
    );
    const titles = { trend: "Trends", counter: "Counters", rate: "Rates", gauge: "Gauges" };
    return [
      h(
        "details",
        { "data-key": "metrics" },
        h("summary", {}, `All ${all.length} metrics`),
        types.map((type) => {
          const rows = all
            .filter((one) => one.type === type)
            .sort((a, b) => String(a.name).localeCompare(String(b.name), "en"));
          const keys = [...new Set(rows.flatMap((one) => Object.keys(one.values ?? {})))].sort(
            (a, b) => rankOf(a) - rankOf(b),
          );
          const title = titles[type] ?? String(type);
          return [
            h("h3", {}, title),
            table(
              `metrics-${type}`,
              `${title}: all values`,
              [
                {
                  label: "Metric",
                  wide: true,
                  value: (one) => String(one.name),
                  cell: (one) => h("code", { class: "name" }, one.name),
                },
                ...keys.map((key) => ({
                  label: key,
                  num: true,
                  value: (one) => one.values?.[key],
                  cell: (one) => write(one, key, one.values?.[key]),
                })),
              ],
              rows,
            ),
          ];
        }),
      ),
    ];
  }

  function drawHistory(report) {
    const all = array(report.history);
    if (!all.length) return [];
    const start = Date.parse(report.started);
    return [
      h(
        "ol",
        { class: "history" },
        all.map((one) => {
          const offset = Date.parse(one.time) - start;
          const from = Number.isNaN(offset) ? "" : `${offset < 0 ? "\u2212" : "+"}${ms(Math.abs(offset))}`;
          return h(
            "li",
            {},
            h(
              "span",
              { class: "when" },
              instant(one.time, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 }),
              h("span", { class: "quiet", title: "from the start of the load" }, from),
            ),
            h("span", { class: "what" }, h("strong", {}, one.event), " ", h("span", {}, one.text)),
          );
        }),
      ),
    ];
  }

  // ---------------------------------------------------------------- the page

  const [top, nav, main, foot] = ["top", "nav", "main", "foot"].map((id) => document.getElementById(id));
  const status = h("p", { id: "link", role: "status" });
  const headline = h("div");
  const SECTIONS = [
    { id: "numbers", title: "Key numbers", draw: drawTiles, uses: ["totals", "live"] },
    { id: "thresholds", title: "Thresholds", draw: drawThresholds, uses: ["thresholds", "metrics", "live"] },
    { id: "charts", title: "Over time" },
    { id: "runners", title: "Runners", draw: () => (fleet.runners.length ? drawRunners() : []), uses: ["perRunner"] },
    { id: "checks", title: "Checks", draw: drawChecks, uses: ["checks"] },
    { id: "groups", title: "Groups", draw: drawGroups, uses: ["groups"] },
    { id: "scenarios", title: "Scenarios", draw: drawScenarios, uses: ["scenarios"] },
    { id: "requests", title: "Requests", draw: drawRequests, uses: ["requests"] },
    { id: "metrics", title: "Metrics", draw: drawMetrics, uses: ["metrics"] },
    { id: "history", title: "What happened", draw: drawHistory, uses: ["history", "started"] },
  ];

  function build() {
    put(top, {}, [
      h("div", { class: "tools" }, h("span", { class: "brand" }, "k6 load test report"), status, themeButton),
      headline,
    ]);
    for (const section of SECTIONS) {
      section.body = h("div", { class: "body" });
      section.charts = h("div", { class: "charts" });
      section.node = h(
        "section",
        { id: section.id, "aria-labelledby": `${section.id}-title`, hidden: true },
        h("h2", { id: `${section.id}-title` }, section.title),
        section.charts,
        section.body,
      );
      section.link = h("a", { href: `#${section.id}` }, section.title);
      main.append(section.node);
      nav.append(section.link);
    }
    put(foot, {}, [
      h(
        "p",
        {},
        "Percentiles of the whole run come from merged exponential histograms of all runners, not from averages of the runners' percentiles; the error bound is shown with each threshold's value, and a verdict is marked uncertain where the bound straddles the limit.",
      ),
      h("p", {}, "Drag in a chart to zoom all of them, double-click to see the whole run again."),
    ]);
  }

  // Draws anew and leaves focus, scrolling and opened details as they were.
  function replace(box, content) {
    const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const caret = focused && document.activeElement.selectionStart;
    const scrolled = [...box.querySelectorAll("[data-keep]")].map((one) => [
      one.dataset.keep,
      one.scrollTop,
      one.scrollLeft,
    ]);
    const open = [...box.querySelectorAll("details[open]")].map((one) => one.dataset.key);
    box.replaceChildren(...content);
    for (const key of open) box.querySelector(`details[data-key="${CSS.escape(key)}"]`)?.setAttribute("open", "");
    for (const [key, y, x] of scrolled) box.querySelector(`[data-keep="${CSS.escape(key)}"]`)?.scrollTo(x, y);
    const again = focused && box.querySelector(`[data-key="${CSS.escape(focused)}"]`);
    again?.focus({ preventScroll: true });
    if (again && caret != null) again.setSelectionRange(caret, caret);
  }

  let current = {};
  const header = {};
  const HEADER = [
    "name",
    "kind",
    "live",
    "result",
    "reason",
    "message",
    "started",
    "durationMs",
    "runners",
    "startSpreadMs",
    "k6Version",
    "complete",
    "incomplete",
  ];
  function render(report) {
    current = report;
    const runners = array(report.perRunner);
    const found = deviations(runners);
    const shown =
      runners.length > MANY
        ? [...runners]
            .sort((a, b) => found.get(b.runner).score - found.get(a.runner).score)
            .slice(0, SHOWN)
            .sort((a, b) => a.runner - b.runner)
        : runners;
    fleet = { runners, found, shown };
    const { time, perRunner, ...rest } = report;
    const brief = { ...rest, perRunner: runners.map(({ requestsOverTime, p95OverTime, ...one }) => one) };
    // A part is drawn again only when what it shows has changed; the lines of the charts always.
    const changed = (part, keys) => {
      const state = JSON.stringify(keys.map((key) => brief[key]));
      if (state === part.state) return false;
      part.state = state;
      return true;
    };
    if (changed(header, HEADER)) replace(headline, drawHeader(report));
    for (const section of SECTIONS) {
      if (!section.draw || !changed(section, section.uses)) continue;
      const content = section.draw(report);
      section.filled = content.length > 0;
      replace(section.body, content);
    }
    const byId = (id) => SECTIONS.find((section) => section.id === id);
    byId("charts").node.hidden = byId("runners").node.hidden = false;
    drawCharts(byId("charts").charts, report);
    drawRunnerCharts(byId("runners").charts, report);
    for (const section of SECTIONS) {
      const empty = !section.filled && !section.charts.childElementCount;
      section.charts.hidden = !section.charts.childElementCount;
      section.node.hidden = section.link.hidden = empty;
    }
    nav.hidden = SECTIONS.every((section) => section.node.hidden);
  }

  // ---------------------------------------------------------------- live

  function say(words, tone = "") {
    if (words !== status.textContent) status.textContent = words;
    status.className = tone;
  }

  // A tick is the part that has changed: fields replace fields, and times are set from its first one on.
  function merge(report, tick) {
    const merged = { ...report, ...tick };
    if (!tick.time && !tick.perRunner) return merged;
    const at = array(report.time?.at);
    const first = tick.time?.at?.[0];
    let from = at.length;
    if (known(first)) while (from > 0 && at[from - 1] >= first) from--;
    const extend = (old, more) => [...line(old, from), ...array(more)];
    if (tick.time) {
      merged.time = { ...report.time };
      for (const key of Object.keys({ ...report.time, ...tick.time }))
        merged.time[key] = extend(report.time?.[key], tick.time[key]);
    }
    if (tick.perRunner) {
      const known = new Map(array(report.perRunner).map((one) => [one.runner, one]));
      for (const one of tick.perRunner) {
        const old = known.get(one.runner) ?? {};
        const next = { ...old, ...one };
        for (const key of ["requestsOverTime", "p95OverTime"]) next[key] = extend(old[key], one[key]);
        known.set(one.runner, next);
      }
      merged.perRunner = [...known.values()];
    }
    return merged;
  }

  // A stream that says nothing for so long is taken for broken; an empty line is enough to keep it.
  const SILENCE = 30000;

  async function follow(received) {
    const stop = new AbortController();
    let timer = 0;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => stop.abort(), SILENCE);
    };
    try {
      heard();
      const answer = await fetch("./stream", { cache: "no-store", signal: stop.signal });
      if (!answer.ok || !answer.body) throw new Error(`status ${answer.status}`);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        heard();
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) if (line.trim() && received(JSON.parse(line))) return;
      }
    } finally {
      clearTimeout(timer);
      stop.abort();
    }
  }

  async function live() {
    let wait = 1000;
    let pending = 0;
    const draw = () => {
      pending = 0;
      render(current);
    };
    if (location.protocol === "file:") return say("saved while the run went on");
    say("connecting", "live");
    while (current.live) {
      try {
        await follow((message) => {
          current = message.tick ? merge(current, message.tick) : message;
          wait = 1000;
          if (current.live) say("live", "live");
          if (!pending) pending = setTimeout(draw, current.live ? 100 : 0);
          return !current.live;
        });
      } catch {
        // Whatever broke it, the answer is the same: try again.
      }
      if (!current.live) break;
      say("connection lost, trying again", "lost");
      await new Promise((resolve) => setTimeout(resolve, wait * (0.75 + Math.random() / 2)));
      wait = Math.min(wait * 2, 15000);
    }
    say("");
  }

  // ---------------------------------------------------------------- paper

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const one of closed) one.open = true;
    applyTheme("light");
    for (const chart of charts.values()) chart.fit(332, 150);
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
    applyTheme();
    for (const chart of charts.values()) chart.fit();
  });

  build();
  applyTheme();
  render(JSON.parse(document.getElementById("data").textContent));
  if (current.live) live();
})();
