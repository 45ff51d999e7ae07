"use strict";
(function () {
  function key(row, column) { return row.cells[column].textContent.trim(); }
  function amount(text) {
    var found = /^[+-]?(\d[\d,]*(\.\d+)?|\.\d+)(e[+-]?\d+)?(?![\w-])/i.exec(text);
    return found ? parseFloat(found[0].replace(/,/g, "")) : NaN;
  }
  function sort(table, column, head) {
    var body = table.tBodies[0];
    var rows = Array.from(body.rows);
    var down = head.getAttribute("aria-sort") === "ascending";
    var texts = rows.map(function (row) { return key(row, column); });
    var full = texts.filter(function (text) { return text !== "–" ? text !== "" : false; });
    var numeric = full.every(function (text) { return !isNaN(amount(text)); });
    rows.sort(function (a, b) {
      var left = key(a, column), right = key(b, column);
      var gone = [left, right].map(function (text) { return text === "–" || text === "" ? 1 : 0; });
      if (gone[0] + gone[1] > 0) { return gone[0] - gone[1]; }
      var order = numeric ? amount(left) - amount(right) : left.localeCompare(right);
      return down ? -order : order;
    });
    Array.from(table.tHead.rows[0].cells).forEach(function (cell) { cell.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.forEach(function (row) { body.appendChild(row); });
  }
  function filter(table, wanted, count) {
    var words = wanted.toLowerCase().split(/\s+/);
    var left = 0;
    Array.from(table.tBodies[0].rows).forEach(function (row) {
      var text = Array.from(row.cells).map(function (cell) { return cell.textContent; }).join(" ").toLowerCase();
      var stays = words.every(function (word) { return text.includes(word); });
      row.hidden = !stays;
      left += stays ? 1 : 0;
    });
    count.textContent = left + " of " + table.tBodies[0].rows.length;
  }
  document.querySelectorAll("table:has(thead)").forEach(function (table) {
    var rows = table.tBodies[0].rows.length;
    if (rows > 2) {
      Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
        var button = document.createElement("button");
        button.type = "button";
        button.textContent = head.textContent;
        if (!head.textContent) { button.setAttribute("aria-label", "sort by the first column"); }
        head.textContent = "";
        head.appendChild(button);
        button.addEventListener("click", function () { sort(table, column, head); });
      });
    }
    if (rows > 7) {
      var label = document.createElement("label"), input = document.createElement("input");
      var count = document.createElement("output");
      input.type = "search";
      label.className = "filter";
      label.append("Filter ", input, count);
      table.parentNode.before(label);
      input.addEventListener("input", function () { filter(table, input.value, count); });
    }
  });
  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details.print:not([open])"));
    opened.forEach(function (each) { each.open = true; });
  });
  window.addEventListener("afterprint", function () { opened.forEach(function (each) { each.open = false; }); });
})();
