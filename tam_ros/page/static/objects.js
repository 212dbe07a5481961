// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// The list of objects. Rows are kept while their object is tracked, so that fingers and screen readers
// do not lose them.

import { title } from './paint.js';

export class ObjectList {
  // `on` has: select(id), rename(id), remove(id). `css` returns the colour of an id.
  constructor(list, none, css, on) {
    Object.assign(this, { list, none, css, on });
    this.rows = new Map();
  }

  show(objects, selected) {
    const ids = new Set(objects.map((item) => item.id));
    for (const [id, row] of this.rows) {
      if (!ids.has(id)) {
        row.item.remove();
        this.rows.delete(id);
      }
    }
    for (const item of objects) {
      let row = this.rows.get(item.id);
      if (!row) {
        row = this.makeRow(item.id);
        this.rows.set(item.id, row);
        // In the order of the ids.
        const after = [...this.rows.keys()].filter((id) => id > item.id).sort((a, b) => a - b)[0];
        this.list.insertBefore(row.item, after ? this.rows.get(after).item : null);
      }
      setText(row.title, title(item));
      setText(row.facts, facts(item));
      row.select.setAttribute('aria-pressed', String(item.id === selected));
      row.rename.setAttribute('aria-label', `Rename ${title(item)}`);
      row.remove.setAttribute('aria-label', `Remove ${title(item)}`);
    }
    this.none.hidden = objects.length > 0;
  }

  makeRow(id) {
    const item = document.createElement('li');
    item.dataset.id = id;
    const select = button('select', () => this.on.select(id));
    const swatch = part('swatch');
    swatch.style.background = this.css(id);
    const row = { item, select, title: part('title'), facts: part('facts') };
    select.append(swatch, row.title, row.facts);
    row.rename = button('act', () => this.on.rename(id), 'Name');
    row.remove = button('act', () => this.on.remove(id), 'Remove');
    item.append(select, row.rename, row.remove);
    return row;
  }
}

function facts(item) {
  const parts = [item.state];
  if (item.score !== null) parts.push(`${Math.round(100 * item.score)}\u00a0%`);
  if (item.age !== null) parts.push(`${item.age.toFixed(item.age < 10 ? 1 : 0)}\u00a0s`);
  if (item.position) parts.push(`${item.position.map((value) => value?.toFixed(2)).join(', ')}\u00a0m`);
  return parts.join(' · ');
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function part(name) {
  const element = document.createElement('span');
  element.className = name;
  return element;
}

function button(name, action, text = '') {
  const element = document.createElement('button');
  element.type = 'button';
  element.className = name;
  element.textContent = text;
  element.addEventListener('click', action);
  return element;
}
