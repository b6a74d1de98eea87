// Small helpers. Text goes in as text and never as markup: ids of users and items come from outside.

export const by = (id) => document.getElementById(id);

// text writes into an element, only where something changes, so that a selection and a screen reader are left alone.
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function put(id, value) {
  text(by(id), value);
}

// rows makes a table body show rows of texts. The cell in column head is the heading of its row; classes are by column.
export function rows(body, head, classes, list) {
  while (body.rows.length > list.length) body.deleteRow(-1);
  list.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    cells.forEach((value, j) => {
      let cell = row.cells[j];
      if (cell === undefined) {
        cell = document.createElement(j === head ? "th" : "td");
        if (j === head) cell.scope = "row";
        cell.className = classes[j];
        row.append(cell);
      }
      text(cell, value);
    });
  });
}

// svg makes an SVG element.
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
