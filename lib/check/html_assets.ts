/**
 * Style and script of the page, inline because the page needs no network.
 *
 * @module
 */

/** The style, light or dark as on the reader's system. */
export const STYLE = `
:root{color-scheme:light dark;--back:#fff;--text:#1f2328;--soft:#59636e;--line:#d1d9e0;--box:#f6f8fa;
--pass:#1a7f37;--lax:#8a5a00;--bad:#b3261e;--skip:#59636e;--in:#0a5ca8;--out:#7a3e9d}
@media(prefers-color-scheme:dark){:root{--back:#0d1117;--text:#e6edf3;--soft:#9aa4af;--line:#30363d;--box:#161b22;
--pass:#4ac26b;--lax:#e0a82e;--bad:#ff7b72;--skip:#9aa4af;--in:#79b8ff;--out:#d2a8ff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:75rem;padding:1.5rem 1rem;background:var(--back);color:var(--text);
font:16px/1.45 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0 0 .25rem;overflow-wrap:anywhere}
p{margin:.25rem 0}
a{color:var(--in)}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin-bottom:.75rem}
.soft{color:var(--soft)}
.tools{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;margin:1.25rem 0 .75rem;padding:.75rem;
background:var(--box);border:1px solid var(--line);border-radius:.5rem}
input[type=search]{font:inherit;flex:1 1 14rem;min-width:0;padding:.4rem .6rem;color:inherit;background:var(--back);
border:1px solid var(--line);border-radius:.35rem}
label{display:inline-flex;gap:.35rem;align-items:center;white-space:nowrap}
:focus-visible{outline:2px solid var(--in);outline-offset:2px}
table{width:100%;border-collapse:collapse}
th{position:sticky;top:0;background:var(--back);text-align:left;font-weight:600}
th,td{padding:.4rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
td.id{width:19rem;font-family:ui-monospace,monospace;font-size:.85rem;overflow-wrap:anywhere}
td.number,th.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.grade{font-weight:600;white-space:nowrap}
.pass .grade{color:var(--pass)}.not-strict .grade{color:var(--lax)}.skipped .grade{color:var(--skip)}
.unclean .grade,.fail .grade{color:var(--bad)}
details{margin-top:.25rem}
summary{cursor:pointer;overflow-wrap:anywhere}
code{font-family:ui-monospace,monospace;font-size:.8rem;overflow-wrap:anywhere}
pre{margin:.5rem 0;padding:.6rem;white-space:pre-wrap;overflow-wrap:anywhere;background:var(--box);border:1px solid var(--line);border-radius:.35rem;
font:.8rem/1.5 ui-monospace,monospace}
pre .in{color:var(--in)}pre .out{color:var(--out)}
[hidden]{display:none!important}
@media(max-width:48rem){
thead{position:absolute;clip-path:inset(50%);height:1px;width:1px;overflow:hidden}
tr{display:block;padding:.6rem 0;border-bottom:1px solid var(--line)}
td,td.id{display:block;width:auto;border:0;padding:.1rem 0}
td.number{display:inline-block;text-align:left;margin-right:1rem;color:var(--soft);font-size:.85rem}
td.number:empty{display:none}
td[data-name]::before{content:attr(data-name) " "}
}
@media print{.tools{display:none}tr{break-inside:avoid}}
`;

/** The script: a filter by words and grades. */
export const SCRIPT = `
const rows = [...document.querySelectorAll("tbody tr")];
const words = document.querySelector("#words");
const boxes = [...document.querySelectorAll(".tools input[type=checkbox]")];
const shown = document.querySelector("#shown");
const texts = rows.map((row) => row.textContent.toLowerCase());
function filter() {
  const wanted = words.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const grades = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  let count = 0;
  rows.forEach((row, index) => {
    const fits = grades.has(row.dataset.grade) && wanted.every((word) => texts[index].includes(word));
    row.hidden = !fits;
    if (fits) count++;
  });
  shown.textContent = count + " of " + rows.length + " cases";
}
words.addEventListener("input", filter);
for (const box of boxes) box.addEventListener("change", filter);
document.querySelector(".tools").hidden = false;
filter();
`;
