"use strict";
(() => {
const $ = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const settings = JSON.parse($("#settings").textContent);
const labels = Object.fromEntries(all("#site option").map((o) => [o.value, o.textContent]));
const state = { view: settings.view, site: settings.sites[Math.floor(settings.sites.length / 2)] };

// Numbers --------------------------------------------------------------------------------------
const TYPES = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u2: Uint16Array, u1: Uint8Array };

function decode(held) {
  if (held?.names) return Array.from(decode(held.codes), (code) => held.names[code]);
  if (!held?.bdata) return held;
  const text = atob(held.bdata);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new TYPES[held.dtype](bytes.buffer);
}

function fromTopBits(held) {
  const bits = Uint32Array.from(decode(held), (x) => x << 16);
  return new Float32Array(bits.buffer);
}

function number(value) {
  if (typeof value !== "number") return value;
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  let text;
  if (Number.isInteger(value) && size < 1e9) text = value.toLocaleString("en");
  else if (size && (size < 1e-3 || size >= 1e5)) text = value.toExponential(1).replace("e+", "e");
  else text = size >= 100 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
  return text.replaceAll("-", "−");
}

const counted = (count, name) => `${count.toLocaleString("en")} ${name}${count === 1 ? "" : "s"}`;

// Plotly reads its texts as markup, formulas between dollar signs and templates.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;").replaceAll("%{", "%&#123;");
const rows = (flat, width) => Array.from({ length: flat.length / width }, (_, i) => flat.subarray(i * width, (i + 1) * width));

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made && key !== "list") made[key] = value; else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Looks ----------------------------------------------------------------------------------------
const HIGHLIGHT = { embed: "#d55e00", final_norm: "#e69f00" };
const BLOCKS = ["#4a4fc9", "#2f7fd0", "#1f9cae", "#2fa37a"];
const SHARES = ["#f7f7f2", "#cfe3e2", "#8cc0cf", "#4a8fbd", "#265b99", "#0c1b4d"];
const SIGNED = ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"];
const scale = (colours) => colours.map((c, i) => [i / (colours.length - 1), c]);

function blend(colours, share) {
  const at = share * (colours.length - 1), low = Math.min(Math.floor(at), colours.length - 2);
  const part = (c, i) => parseInt(c.slice(1 + 2 * i, 3 + 2 * i), 16);
  return "#" + [0, 1, 2].map((i) => {
    const mixed = part(colours[low], i) + (at - low) * (part(colours[low + 1], i) - part(colours[low], i));
    return Math.round(mixed).toString(16).padStart(2, "0");
  }).join("");
}

function colour(site, sites) {
  if (HIGHLIGHT[site]) return HIGHLIGHT[site];
  const blocks = sites.filter((s) => !HIGHLIGHT[s]);
  return blend(BLOCKS, blocks.length > 1 ? blocks.indexOf(site) / (blocks.length - 1) : 0.3);
}

const short = (site) => labels[site]?.replace(/^block /, "") ?? site;
const GREY = "#808080";
// Ticks that are not seen hold the labels of two axes apart in their corner.
const axis = (more = {}) => ({ showline: false, ticks: "outside", tickcolor: "rgba(0,0,0,0)", zeroline: false, gridcolor: "rgba(128,128,128,.25)", automargin: true, ...more });
const LETTER = 6.6, LINE = 15;
const logarithmic = { type: "log", dtick: 1, exponentformat: "power", tickfont: { size: 9.6 } }; // Plotly writes powers larger.
const layout = (height, more = {}) => ({
  height, margin: { l: 56, r: 16, t: 16, b: 48 }, font: { size: 12, color: GREY }, showlegend: false,
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", ...more,
});

// Labels that do not touch on an axis of so many pixels: words first, then every second block, …
function siteAxis(sites, room, across, more = {}) {
  const texts = sites.map((s) => (across ? short(s).replace(" ", "<br>") : short(s))), each = room / sites.length;
  const extent = (i) => (across ? LETTER * Math.max(...texts[i].split("<br>").map((t) => t.length)) + 4 : LINE);
  const blocks = sites.flatMap((s, i) => (HIGHLIGHT[s] ? [] : [i])), most = Math.max(0, ...blocks.map(extent));
  const step = [1, 2, 4, 5, 10, 20, 25, 50].find((n) => n * each >= most) ?? 100;
  const at = sites.flatMap((s, i) => (HIGHLIGHT[s] ? [i] : []));
  for (const i of blocks.filter((_, n) => n % step === 0)) {
    if (at.every((j) => Math.abs(i - j) * each >= (extent(i) + extent(j)) / 2)) at.push(i);
  }
  return axis({ tickvals: at, ticktext: at.map((i) => texts[i]), tickangle: 0, ...more });
}

// Break a text into lines of so many letters.
function wrapped(text, most) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines.pop(), longer = last ? `${last} ${word}` : word;
    lines.push(...(longer.length > most && last ? [last, word] : [longer]));
  }
  return lines;
}

function asinhTicks(low, high, linear) {
  const reach = Math.max(Math.abs(low), Math.abs(high)), found = [0];
  const first = Math.ceil(Math.log10(linear)), last = Math.floor(Math.log10(reach));
  const step = Math.max(1, Math.ceil((last - first + 1) / 3));
  for (let e = last; e >= first; e -= step) found.push(10 ** e, -(10 ** e));
  const inside = found.filter((t) => t >= low && t <= high).sort((a, b) => a - b);
  return { tickvals: inside.map((t) => Math.asinh(t / linear)), ticktext: inside.map(number) };
}

function farApart(values) {
  const known = Array.from(values).filter(Number.isFinite);
  return known.length > 1 && Math.min(...known) > 0 && Math.max(...known) > 20 * Math.min(...known);
}

const finite = (values) => Array.from(values, (v) => (Number.isFinite(v) ? v : null));
const columns = (names, values) => names.map((name, i) => ({ name, values: values[i] }));

// Figures that the page draws itself -------------------------------------------------------------
// Each takes what is shown in a view, what all views share, what the reader chose and how many
// pixels wide its place is, and returns data and layout for Plotly and the columns of its table.
const build = {};

build.drawn = (shown) => ({ data: shown.data, layout: shown.layout, table: shown.table });

build.moments = (shown, common, chosen, width) => {
  const { sites } = shown, at = sites.map((_, i) => i), data = [];
  const one = width < settings.screens[1], whole = width - 72, apart = 84;
  const room = one ? whole : whole / 2 - apart;
  const more = { grid: { rows: one ? 2 : 1, columns: one ? 1 : 2, pattern: "independent", xgap: apart / (whole / 2), ygap: 0.3 } };
  [["std", "standard deviation"], ["kurtosis", "excess kurtosis"]].forEach(([key, name], i) => {
    const suffix = i ? "2" : "", values = decode(shown[key]);
    data.push({
      type: "scatter", mode: "lines+markers", xaxis: `x${suffix}`, yaxis: `y${suffix}`, x: at, y: finite(values),
      line: { color: "#7f9fc4", width: 1.2 }, marker: { size: 7, color: sites.map((s) => colour(s, sites)) },
      text: sites.map((s) => plain(labels[s])), hovertemplate: `%{text}<br>${name} %{y:.4~g}<extra></extra>`,
    });
    more[`xaxis${suffix}`] = siteAxis(sites, room, true, { title: { text: "after block" } });
    more[`yaxis${suffix}`] = axis({ title: { text: name }, ...(farApart(values) ? logarithmic : {}) });
  });
  return { data, layout: layout(one ? 560 : 320, { ...more, margin: { l: 56, r: 16, t: 16, b: 64 } }), table: shown.table };
};

const DENSITY = {
  normal: (x, loc, s) => Math.exp(-(((x - loc) / s) ** 2) / 2) / (s * Math.sqrt(2 * Math.PI)),
  logistic: (x, loc, s) => 1 / (4 * s * Math.cosh((x - loc) / (2 * s)) ** 2),
};

build.histogram = (shown, common, chosen, width) => {
  const left = decode(shown.left), right = decode(shown.right), heights = rows(decode(shown.heights), left.length);
  const linear = shown.scale === "linear", share = shown.y === "share";
  const place = linear ? (v) => v : (v) => Math.asinh(v / shown.linear);
  const middle = Array.from(left, (l, i) => (linear ? (l + right[i]) / 2 : shown.linear * Math.sinh((place(l) + place(right[i])) / 2)));
  const x = middle.map(place), data = [], least = Math.min(...heights.flatMap((h) => Array.from(h).filter((v) => v > 0)));
  const drawn = shown.sites.filter((s) => chosen.sites.has(s) || s === state.site);
  for (const site of drawn) {
    const values = heights[shown.sites.indexOf(site)], here = site === state.site;
    data.push({
      type: "scatter", mode: "lines", line: { shape: "hvh", width: here ? 2.4 : 1.1, color: colour(site, shown.sites) },
      opacity: here || drawn.length < 3 ? 1 : 0.75, name: plain(labels[site]), x, y: Array.from(values, (v) => (v > 0 ? v : null)),
      text: middle.map(number), hovertemplate: "activation %{text}<br>%{y:.3~g}", meta: { site },
    });
  }
  const at = shown.sites.indexOf(state.site), lines = [["normal", "dash"], ["logistic", "dot"]];
  if (at >= 0 && chosen.fits) for (const [family, dash] of lines) {
    const [loc, s] = rows(decode(shown.fits[family]), 2)[at];
    if (!(s > 0)) continue;
    const y = middle.map((m, i) => DENSITY[family](m, loc, s) * (share ? right[i] - left[i] : 1));
    data.push({
      type: "scatter", mode: "lines", name: `${family} fitted to ${plain(labels[state.site])}`, x, hoverinfo: "skip",
      y: y.map((v) => (v > least / 3 ? v : null)), line: { color: GREY, width: 1.4, dash },
    });
  }
  const ticks = linear ? {} : asinhTicks(left[0], right[right.length - 1], shown.linear);
  const beyond = shown.beyond.map((text) => wrapped(text, (width - 90) / 2 / 5.8));
  const notes = shown.beyond.map((text, i) => text && {
    text: beyond[i].map(plain).join("<br>"), align: i ? "right" : "left", showarrow: false, xref: "paper", yref: "paper", x: i, y: 1, yshift: 6, xanchor: i ? "right" : "left", yanchor: "bottom", font: { size: 11, color: GREY },
  }).filter(Boolean);
  return {
    data,
    layout: layout(440, {
      margin: { l: 64, r: 16, t: 18 + LINE * Math.max(...beyond.map((lines) => lines.length)), b: 48 }, annotations: notes,
      xaxis: axis({ title: { text: linear ? "activation" : "activation (asinh scale)" }, ...ticks }),
      yaxis: axis({ title: { text: share ? "share of values in a bin" : "density per unit" }, ...(chosen.log ? logarithmic : {}) }),
    }),
    caption: shown.caption + (at >= 0 && chosen.fits ? ` · dashed: a normal, dotted: a logistic, fitted to ${labels[state.site]}` : ""),
    table: columns(["from", "to", ...drawn.map((s) => `${share ? "share" : "density"} at ${labels[s]}`)], [left, right, ...drawn.map((s) => heights[shown.sites.indexOf(s)])]),
  };
};

build.matrix = (shown, common, chosen, width) => {
  const { sites } = shown, n = sites.length, k = Math.min(chosen.k, shown.pooled.length - 1);
  const flat = decode(chosen.what === "pooled" ? shown.pooled[k] : shown[chosen.what]), z = rows(flat, n);
  const signed = chosen.what === "covariance";
  const sizes = Array.from(flat, Math.abs).filter((v) => v > 0 && Number.isFinite(v));
  const reach = Math.max(...sizes), linear = Math.max(Math.min(...sizes), reach * 1e-5);
  const place = signed ? (v) => Math.asinh(v / linear) : (v) => v;
  const names = sites.map((s) => plain(labels[s]));
  const ticks = signed ? asinhTicks(-reach, reach, linear) : {};
  const top = signed ? Math.asinh(reach / linear) : 1;
  const what = { pooled: "R²", within: "R² within channels", covariance: "covariance" }[chosen.what];
  const out = chosen.what === "pooled" && k ? ` without channel${k > 1 ? "s" : ""} ${shown.loudest.slice(0, k).join(", ")}` : "";
  const most = Math.max(440, Math.min(700, 290 + 12 * n)), high = Math.max(420, Math.min(680, 260 + 12 * n));
  const refused = chosen.what === "pooled" && chosen.k > k ? ` · ${shown.refused}` : "";
  return {
    data: [{
      type: "heatmap", z: z.map((row) => finite(Array.from(row, place))), zmin: signed ? -top : 0, zmax: top,
      colorscale: scale(signed ? SIGNED : SHARES), customdata: z.map((row) => Array.from(row, number)), xgap: n < 40 ? 1 : 0, ygap: n < 40 ? 1 : 0,
      text: z.map((_, i) => z.map((_, j) => `${names[i]} and ${names[j]}`)), hovertemplate: `%{text}<br>${what} %{customdata}<extra></extra>`,
      colorbar: { thickness: 10, outlinewidth: 0, len: 0.9, title: { text: what, side: "right" }, ...ticks },
    }],
    layout: layout(high, {
      xaxis: siteAxis(sites, Math.min(most, width) - 150, true, { showgrid: false, title: { text: "after block" } }),
      yaxis: siteAxis(sites, Math.min(high, width) - 80, false, { showgrid: false, autorange: "reversed", title: { text: "after block" } }),
    }),
    most,
    caption: `${shown.caption}${out ? ` · ${what}${out}` : ""}${refused}${shown.paired ? " · choose a cell to see its two sites against each other" : ""}`,
    table: columns(["site", ...sites.map((s) => labels[s])], [sites.map((s) => labels[s]), ...z]),
  };
};

build.pairs = (shown, common, chosen) => {
  common.values ??= rows(fromTopBits(common.states), decode(common.stratum).length);
  const allowed = new Set(shown.shown), codes = decode(common.stratum), BINS = 64;
  const kept = common.strata.map((s) => allowed.has(s));
  const [a, b] = [chosen.a, chosen.b].map((site) => {
    const values = common.values[shown.sites.indexOf(site)].filter((v, i) => kept[codes[i]]);
    const known = values.filter(Number.isFinite), sizes = known.map(Math.abs).sort();
    const linear = sizes[Math.floor(sizes.length / 2)] || 1;
    let low = Infinity, high = -Infinity;
    for (const v of known) { if (v < low) low = v; if (v > high) high = v; }
    if (!(low < high)) { low -= 1; high += 1; }
    const first = Math.asinh(low / linear), width = (Math.asinh(high / linear) - first) / BINS;
    return { values, low, high, linear, first, width, bins: Array.from({ length: BINS }, (_, i) => first + (i + 0.5) * width) };
  });
  const counts = Array.from({ length: BINS }, () => new Array(BINS).fill(0));
  const cell = (one, v) => Math.min(BINS - 1, Math.floor((Math.asinh(v / one.linear) - one.first) / one.width));
  let held = 0;
  a.values.forEach((v, i) => {
    if (Number.isFinite(v) && Number.isFinite(b.values[i])) { counts[cell(b, b.values[i])][cell(a, v)]++; held++; }
  });
  const most = Math.max(...counts.flat()), powers = [...[1, 10, 100, 1000, 10000].filter((p) => 2 * p <= most), most];
  const pairTable = { x: [], y: [], n: [] };
  counts.forEach((row, i) => row.forEach((n, j) => {
    if (n) { pairTable.x.push(a.linear * Math.sinh(a.bins[j])); pairTable.y.push(b.linear * Math.sinh(b.bins[i])); pairTable.n.push(n); }
  }));
  return {
    claim: `${labels[chosen.a][0].toUpperCase()}${labels[chosen.a].slice(1)} against ${labels[chosen.b]}: ${counted(held, "value")}.`,
    data: [{
      type: "heatmap", x: a.bins, y: b.bins, z: counts.map((row) => row.map((n) => (n ? Math.log10(n) : null))),
      customdata: counts, zmin: 0, zmax: Math.log10(Math.max(most, 2)), colorscale: scale(BLOCKS.toReversed ? ["#9cc9e8", ...BLOCKS.slice(0, 2).reverse(), "#151a6b"] : BLOCKS),
      hovertemplate: "%{customdata} values<extra></extra>",
      colorbar: { thickness: 10, outlinewidth: 0, len: 0.9, tickvals: powers.map(Math.log10), ticktext: powers.map(number), title: { text: "values", side: "right" } },
    }],
    layout: layout(440, {
      xaxis: axis({ title: { text: plain(`activation at ${labels[chosen.a]}`) }, ...asinhTicks(a.low, a.high, a.linear) }),
      yaxis: axis({ title: { text: plain(`activation at ${labels[chosen.b]}`) }, ...asinhTicks(b.low, b.high, b.linear) }),
    }),
    table: columns([`activation at ${labels[chosen.a]}`, `activation at ${labels[chosen.b]}`, "values"], [pairTable.x, pairTable.y, pairTable.n]),
  };
};

build.map = (shown, common) => {
  const tokens = common.pieces.length, { width } = common, at = shown.sites.indexOf(state.site);
  common.values ??= fromTopBits(common.states);
  const channels = Array.from(decode(common.channels).subarray(at * width, (at + 1) * width));
  const values = rows(common.values.subarray(at * tokens * width, (at + 1) * tokens * width), width);
  const allowed = new Set(shown.shown), kept = common.strata.flatMap((s, i) => (allowed.has(s) ? [i] : []));
  const sizes = Float32Array.from(kept.flatMap((t) => Array.from(values[t], Math.abs).filter(Number.isFinite))).sort();
  const linear = sizes[Math.floor(sizes.length / 2)] || 1, reach = sizes[sizes.length - 1] || 1, top = Math.asinh(reach / linear);
  const z = channels.map((_, c) => kept.map((t) => { const v = Math.asinh(values[t][c] / linear); return Number.isFinite(v) ? v : null; }));
  const words = kept.map((t) => (common.pieces[t].length > 14 ? `${common.pieces[t].slice(0, 13)}…` : common.pieces[t]));
  const bare = words.map((w) => w.replace(/^[Ġ▁ ]/, "")).map((w) => (w.trim() ? w : "␣".repeat(w.length || 1)));
  return {
    claim: `${counted(kept.length, "token")} at ${labels[state.site]}.`,
    data: [{
      type: "heatmap", z, zmin: -top, zmax: top, colorscale: scale(SIGNED), x: kept.map((_, i) => i), y: channels.map((_, i) => i),
      customdata: channels.map((c, i) => kept.map((t) => `token “${plain(common.pieces[t])}”, position ${common.positions[t]}<br>channel ${c}: ${number(values[t][i])}`)),
      hovertemplate: "%{customdata}<extra></extra>", colorbar: { thickness: 10, outlinewidth: 0, len: 0.9, title: { text: "activation", side: "right" }, ...asinhTicks(-reach, reach, linear) },
    }],
    layout: layout(Math.max(320, 130 + 9 * channels.length), {
      margin: { l: 56, r: 16, t: 8, b: 90 },
      xaxis: axis({ showgrid: false, tickvals: kept.map((_, i) => i), ticktext: bare.map(plain), tickangle: -90, tickfont: { size: 10 } }),
      yaxis: axis({ showgrid: false, title: { text: "channel" }, autorange: "reversed", tickvals: channels.map((_, i) => i).filter((i) => i % 4 === 0), ticktext: channels.filter((_, i) => i % 4 === 0).map(String), tickfont: { size: 10 } }),
    }),
    wide: 170 + 13 * kept.length,
    table: columns(["token", "position", ...channels.map((c) => `channel ${c}`)], [kept.map((t) => common.pieces[t]), kept.map((t) => common.positions[t]), ...channels.map((_, c) => kept.map((t) => values[t][c]))]),
  };
};

// What the reader chooses of one figure -----------------------------------------------------------
const options = {
  histogram(figure, shown) {
    const { sites } = shown, few = new Set([0, 1, Math.floor(sites.length / 2), sites.length - 2, sites.length - 1].map((i) => sites[i]).filter(Boolean));
    const chosen = { sites: few, fits: true, log: true }, chips = element("div", { className: "chips" });
    const toggle = (words, checked, set, line) => {
      const box = element("input", { type: "checkbox", checked });
      box.addEventListener("change", () => { set(box.checked); refresh(figure); });
      return element("label", {}, box, element("span", {}, ...(line ? [element("i", { style: `background:${line}` })] : []), words));
    };
    const every = (words, chosenSites) => {
      const button = element("button", { type: "button", textContent: words });
      button.addEventListener("click", () => {
        few.clear();
        for (const site of chosenSites) few.add(site);
        all("input", chips).forEach((box, i) => (box.checked = few.has(sites[i])));
        refresh(figure);
      });
      return button;
    };
    for (const site of sites) chips.append(toggle(labels[site], few.has(site), (on) => (on ? few.add(site) : few.delete(site)), colour(site, sites)));
    const own = element("div", { className: "chips" }, toggle("fitted normal and logistic", true, (on) => (chosen.fits = on)), toggle("logarithmic", true, (on) => (chosen.log = on)));
    const folded = element("fieldset", {}, element("legend", { textContent: "Sites laid over the one chosen for the page" }), chips);
    chips.append(every("all", sites), every("none", []));
    return [chosen, [folded, own]];
  },
  matrix(figure) {
    const chosen = { what: "pooled", k: 0 };
    const what = element("select", { name: "what" }, ...[["pooled", "R², pooled (the article’s)"], ["within", "R² within channels"], ["covariance", "Covariance"]].map(([value, text]) => element("option", { value, textContent: text })));
    const range = element("input", { type: "range", min: 0, max: 8, value: 0, name: "k" }), said = element("output", { textContent: "none" });
    what.addEventListener("change", () => { chosen.what = what.value; range.disabled = chosen.what !== "pooled"; refresh(figure); });
    range.addEventListener("input", () => { chosen.k = Number(range.value); refresh(figure); });
    // Another view has other loud channels, and only the pooled R² leaves any out.
    chosen.tell = ({ loudest = [] }) => {
      said.textContent = chosen.k && chosen.what === "pooled" ? loudest.slice(0, chosen.k).join(", ") : "none";
    };
    return [chosen, [element("label", {}, "Show ", what), element("label", {}, "Loudest channels left out: ", said, element("br"), range)]];
  },
  pairs(figure, shown) {
    const half = shown.sites[Math.floor(shown.sites.length / 2)], chosen = { a: shown.sites[0], b: half };
    const pick = (key, words) => {
      const select = element("select", { name: key }, ...shown.sites.map((s) => element("option", { value: s, textContent: labels[s] })));
      select.value = chosen[key];
      select.addEventListener("change", () => { chosen[key] = select.value; refresh(figure); });
      return element("label", {}, `${words} `, select);
    };
    return [chosen, [pick("a", "Across"), pick("b", "Up")]];
  },
};

// Drawing ----------------------------------------------------------------------------------------
const figures = all("[data-figure]").map((node) => ({ node, key: node.dataset.figure, plot: $(".plot", node), todo: "all", near: false }));
const named = Object.fromEntries(figures.map((f) => [f.key, f]));
const coarse = matchMedia("(pointer: coarse)").matches;
const config = { displayModeBar: false, showTips: false };

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

// Whatever is drawn on paper has this width, in pixels.
const SHEET = 672;
let onPaper = false;

// All of a figure but its drawing: its words, its controls, its table, and the room that it takes.
async function prepare(figure) {
  const { node, plot } = figure;
  if (!figure.held) figure.held = await unpack($("script", node).textContent);
  const shown = figure.held.views[state.view], [claim, caption, missing] = [".claim", ".caption", ".missing"].map((part) => $(part, node));
  const reason = shown.missing ? `Not shown: ${shown.missing}.` : window.Plotly ? "" : "Not drawn: Plotly’s script could not be loaded. The numbers are under “Data”.";
  $("h3", node).textContent = shown.title;
  missing.hidden = !reason;
  missing.textContent = reason;
  $(".frame", node).hidden = Boolean(reason);
  for (const part of [$(".tools", node), $(".options", node)]) part.hidden = Boolean(shown.missing);
  for (const button of all("[data-save]:not([data-save=csv])", node)) button.hidden = Boolean(reason);
  figure.todo = reason ? "" : "paint";
  if (shown.missing) {
    claim.textContent = caption.textContent = "";
    return;
  }
  if (!figure.chosen && options[figure.key]) {
    const [chosen, controls] = options[figure.key](figure, shown);
    figure.chosen = chosen;
    $(".options", node).append(...controls);
  }
  figure.chosen?.tell?.(shown);
  const width = figure.width = onPaper ? SHEET : node.clientWidth;
  const made = figure.made = build[figure.held.build](shown, figure.held, figure.chosen, width);
  claim.textContent = made.claim ?? (shown.claim && `${shown.claim}.`);
  caption.textContent = made.caption ?? shown.caption;
  plot.setAttribute("aria-label", `${shown.title}. ${claim.textContent}`);
  if ($("details", node).open) showData(figure); else $(".data", node).replaceChildren();
  const whole = figure.layout = fitted(made.layout, width);
  // A sheet cannot be scrolled.
  figure.least = onPaper ? 0 : made.wide ?? 0;
  if (made.most) whole.height = Math.min(whole.height, Math.max(300, width + 20));
  Object.assign(whole, { width: undefined, autosize: true, dragmode: coarse ? false : whole.dragmode ?? "zoom" });
  Object.assign(plot.style, {
    width: onPaper ? `${SHEET}px` : "", minWidth: `${figure.least}px`,
    maxWidth: made.most ? `${made.most}px` : "", height: `${whole.height}px`,
  });
  plot.style.setProperty("--high", whole.height);
  mark(figure);
}

// What scrolls sideways can be reached, and scrolled, by keyboard.
function mark({ node, least, width }) {
  const frame = $(".frame", node), scrolls = least > width;
  const given = { tabindex: "0", role: "region", "aria-label": `${$("h3", node).textContent}, scrolls sideways` };
  for (const [name, value] of Object.entries(given)) if (scrolls) frame.setAttribute(name, value); else frame.removeAttribute(name);
}

async function paint(figure) {
  figure.todo = "";
  const { plot } = figure, screen = screenOf(figure.width);
  if (figure.screen !== screen) {
    figure.screen = screen;
    // Plotly, going on from another layout, may leave the key where it was.
    window.Plotly.purge(plot);
    figure.listens = false;
  }
  await window.Plotly.react(plot, figure.made.data, figure.layout, config);
  if (figure.key === "matrix" && !figure.listens) {
    figure.listens = true;
    plot.on("plotly_click", ({ points: [point] }) => compare(point.pointIndex[1], point.pointIndex[0]));
  }
}

async function stretch(figure) {
  figure.todo = "";
  figure.width = figure.node.clientWidth;
  await window.Plotly.Plots.resize(figure.plot);
  mark(figure);
}

const screenOf = (width) => settings.screens.findLast((least) => least <= width) ?? settings.screens[0];

// What the theme says of these names.
function themed(...names) {
  const style = getComputedStyle(document.documentElement);
  return names.map((name) => style.getPropertyValue(name).trim());
}

// A figure of the package says under `meta` what differs between screens.
function fitted({ meta, ...own }, width) {
  const whole = structuredClone(own), [soft, ink, family] = themed("--soft", "--ink", "--sans");
  // Plotly’s own colour of words is for white paper alone.
  whole.font = { color: soft, ...whole.font, family };
  for (const [path, value] of Object.entries(meta?.[screenOf(width)] ?? {})) {
    const steps = path.replaceAll("[", ".").replaceAll("]", "").split("."), last = steps.pop();
    let place = whole;
    for (const step of steps) place = place[step] ??= {};
    place[last] = value;
  }
  // Colours of lines are too faint for words.
  for (const { font } of whole.annotations ?? []) if (font?.color) font.color = blend([font.color, ink], 0.5);
  return whole;
}

// Do what there is to do: all; to paint what is prepared; or to follow the width of the window.
async function update(figure, painted = true) {
  try {
    if (figure.todo === "all") await prepare(figure);
    if (figure.todo === "paint" && painted) await paint(figure);
    if (figure.todo === "width") await stretch(figure);
  } catch (error) {
    figure.todo = "";
    console.error(error);
  }
}

function refresh(...changed) {
  for (const figure of changed) figure.todo = "all";
  schedule();
}

// One at a time: Plotly in the middle of a figure misplaces its key. What is far from the reader
// is prepared, and painted when it comes near.
let scheduled = false;
function schedule() {
  delete document.documentElement.dataset.ready;
  if (scheduled) return;
  scheduled = true;
  setTimeout(work, 0);
}

async function work() {
  const near = figures.find((f) => f.todo && f.near), next = near ?? figures.find((f) => f.todo === "all");
  if (!next) {
    scheduled = false;
    wanted = null;
    document.documentElement.dataset.ready = "yes";
    return;
  }
  await update(next, Boolean(near));
  arrive();
  setTimeout(work, 0);
}

function compare(x, y) {
  const { sites, paired } = named.matrix.held.views[state.view], figure = named.pairs;
  if (!paired) return;
  [figure.chosen.a, figure.chosen.b] = [sites[x], sites[y]];
  for (const key of ["a", "b"]) $(`select[name="${key}"]`, figure.node).value = figure.chosen[key];
  refresh(figure);
  figure.node.scrollIntoView({ block: "center" });
  say(`${labels[sites[x]]} against ${labels[sites[y]]}`);
}

// Tables and files -------------------------------------------------------------------------------
function showData(figure) {
  const shown = figure.made.table.map(({ name, values }) => ({ name, values: decode(values) }));
  const most = 2000, count = shown[0]?.values.length ?? 0;
  const head = element("tr", {}, ...shown.map(({ name }) => element("th", { scope: "col", textContent: name })));
  const body = element("tbody");
  for (let i = 0; i < Math.min(count, most); i++) {
    body.append(element("tr", {}, ...shown.map(({ values }) => element("td", { textContent: number(values[i]), className: typeof values[i] === "string" ? "text" : "" }))));
  }
  const place = $(".data", figure.node);
  place.replaceChildren(element("table", {}, element("thead", {}, head), body));
  Object.assign(place, { tabIndex: 0 });
  place.setAttribute("role", "region");
  place.setAttribute("aria-label", `Data of ${$("h3", figure.node).textContent}`);
  if (count > most) place.append(element("p", { textContent: `The first ${most} of ${count} rows; CSV has all.` }));
}

function csv(figure) {
  const shown = figure.made.table.map(({ name, values }) => ({ name, values: decode(values) }));
  // A text that begins like a formula would be run by a spreadsheet.
  const cell = (v) => {
    if (typeof v === "number") return Number.isFinite(v) ? String(Number(v.toPrecision(8))) : "";
    const text = /^[=+\-@\t\r]/.test(v) ? `'${v}` : v;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [shown.map(({ name }) => cell(name)).join(",")];
  for (let i = 0; i < (shown[0]?.values.length ?? 0); i++) lines.push(shown.map(({ values }) => cell(values[i])).join(","));
  return new Blob([lines.join("\n"), "\n"], { type: "text/csv;charset=utf-8" });
}

async function picture(figure, format) {
  const [ink, paper] = themed("--ink", "--paper"), { layout: own, made: { data } } = figure, width = figure.plot.clientWidth;
  const words = wrapped($("h3", figure.node).textContent, width / 9), above = 20 + 20 * words.length, height = own.height + above;
  const title = { text: words.map(plain).join("<br>"), x: 0.01, xanchor: "left", y: 1 - 10 * words.length / height, yanchor: "top", font: { size: 15, color: ink } };
  const whole = { ...own, title, width, height, autosize: false, paper_bgcolor: paper, plot_bgcolor: paper, margin: { ...own.margin, t: own.margin.t + above }, font: { ...own.font, color: ink } };
  const address = await window.Plotly.toImage({ data, layout: whole, config }, { format, width, height, scale: 2 });
  const [head, body] = [address.slice(0, address.indexOf(",")), address.slice(address.indexOf(",") + 1)];
  const content = head.includes("base64") ? Uint8Array.from(atob(body), (c) => c.charCodeAt(0)) : decodeURIComponent(body);
  return new Blob([content], { type: format === "svg" ? "image/svg+xml" : "image/png" });
}

async function save(figure, format) {
  try {
    const blob = format === "csv" ? csv(figure) : await picture(figure, format), address = URL.createObjectURL(blob);
    element("a", { href: address, download: `${figure.key}-${state.view.replace(/[^\w+-]/g, "_")}.${format}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    say(`saved as ${format.toUpperCase()}`);
  } catch (error) { console.error(error); say("could not be saved"); }
}

for (const figure of figures) {
  $("details", figure.node).addEventListener("toggle", (event) => { if (event.target.open) showData(figure); });
  for (const button of all("[data-save]", figure.node)) {
    button.setAttribute("aria-label", `Save ${$("h3", figure.node).textContent} as ${button.textContent}`);
    button.addEventListener("click", () => save(figure, button.dataset.save));
  }
}

// The whole page ----------------------------------------------------------------------------------
const say = (words) => { $("#said").textContent = words; };
const sections = all("main > section");
let current = sections[0]?.id;

function address() {
  const found = `#${current}&view=${encodeURIComponent(state.view)}&site=${encodeURIComponent(state.site)}`;
  try { history.replaceState(null, "", found); } catch { /* a page without an address of its own */ }
}

function apply() {
  $("#view").value = state.view;
  $("#site").value = state.site;
  for (const part of all("[data-view]")) part.hidden = part.dataset.view !== state.view;
}

// Figures grow while they are drawn: the place that was asked for stays in sight until the reader
// moves on.
let wanted = null;
const arrive = () => wanted?.scrollIntoView({ behavior: "instant" });
for (const event of ["wheel", "touchstart", "keydown", "pointerdown"]) addEventListener(event, () => { wanted = null; }, { passive: true });

function follow() {
  const [place, ...rest] = location.hash.slice(1).split("&"), given = new URLSearchParams(rest.join("&"));
  const before = `${state.view} ${state.site}`;
  if (all("#view option").some((o) => o.value === given.get("view"))) state.view = given.get("view");
  if (settings.sites.includes(given.get("site"))) state.site = given.get("site");
  apply();
  if (before !== `${state.view} ${state.site}`) refresh(...figures);
  wanted = place ? document.getElementById(place) : null;
  arrive();
  schedule();
}

$("#view").addEventListener("change", (event) => {
  state.view = event.target.value;
  apply(); address();
  refresh(...figures);
  say(`shows the view ${state.view}`);
});
$("#site").addEventListener("change", (event) => {
  state.site = event.target.value;
  address();
  refresh(named.histogram, named.map);
  say(`shows ${labels[state.site]}`);
});
$("#theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  refresh(...figures);
  say(`${root.dataset.theme} colours`);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => refresh(...figures));
addEventListener("hashchange", follow);

addEventListener("resize", () => {
  for (const figure of figures) {
    const { clientWidth } = figure.node;
    if (figure.width === undefined || clientWidth === figure.width) continue;
    const painted = !figure.todo || figure.todo === "width";
    figure.todo = painted && screenOf(clientWidth) === figure.screen ? "width" : "all";
  }
  schedule();
});

// The first figure is always painted; the others are when they are less than a screen away.
const [first, ...others] = figures;
const watch = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) named[target.dataset.figure].near = isIntersecting;
  schedule();
}, { rootMargin: "100%" });
first.near = true;
for (const { node } of others) watch.observe(node);

// A browser prints the page as it is at the end of this event: what is unpacked by then is painted.
let theme;
addEventListener("beforeprint", async () => {
  const { dataset } = document.documentElement;
  [onPaper, theme, dataset.theme] = [true, dataset.theme, "light"];
  for (const figure of figures) {
    figure.todo = "all";
    await update(figure);
  }
});
addEventListener("afterprint", () => {
  onPaper = false;
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  refresh(...figures);
});

const read = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    current = target.id;
    for (const link of all("nav a")) if (link.hash === `#${current}`) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    address();
  }
}, { rootMargin: "-20% 0px -75% 0px" });

follow();
for (const section of sections) read.observe(section);
})();
