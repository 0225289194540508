// Each head of a table becomes a button: a click, or a key on it, sorts by its column.
for (const head of document.querySelectorAll("table.sortable th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0], column = head.cellIndex;
    const up = head.getAttribute("aria-sort") === "descending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => {
      const value = row.cells[column].dataset.value ?? row.cells[column].textContent;
      return value !== "" && !isNaN(value) ? Number(value) : value;
    };
    const order = (a, b) => a < b ? -1 : a > b ? 1 : 0;
    body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b))));
  });
}
