// Copyright the tam_ros maintainers
// SPDX-License-Identifier: Apache-2.0
// What a gesture means: a pure function, so that it can be read and tested.

// gesture: {kind: 'tap' | 'hold', x, y} or {kind: 'box', box}, in pixels of the image.
// under: id of the object at that place; 0: none. selected: id of the selected object; 0: none.
// Returns {select: id}, {prompt: {object, points, box}} or {refuse: text}.
export function meaning(gesture, under, selected) {
  if (gesture.kind === 'box') return { prompt: { object: selected, points: [], box: gesture.box } };
  const { x, y } = gesture;
  if (gesture.kind === 'tap') {
    if (under && under !== selected) return { select: under };
    return { prompt: { object: selected, points: [[x, y, 1]] } };
  }
  // Holding a place on the mask of an object says that this object is not there.
  const object = selected || under;
  if (!object) return { refuse: 'Which object is not here? Select it first: tap it, or its row.' };
  return { prompt: { object, points: [[x, y, 0]] } };
}
