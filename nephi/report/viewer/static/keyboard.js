// Keyboard shortcuts, and the line that lists them.

// Return the shortcuts as [keys, label of the keys, what they do, action]; actions click the same buttons as the mouse.
function shortcuts(scene, step) {
  const click = (selector) => () => document.querySelector(selector)?.click();
  const move = (axis, sign) => () => scene.moveBy([0, 1, 2].map((i) => (i === axis ? sign * step : 0)));
  const list = [
    [["1"], "1", "fixed", click("[data-image=fixed]")],
    [["2"], "2", "moving", click("[data-image=moving]")],
    [["3"], "3", "warped", click("[data-image=warped]")],
    [[" "], "space", "fixed or the other image", alternate(scene, click)],
    [["b"], "B", "blend", () => setBlend(50)],
    [["c"], "C", "checkerboard", click("[data-layout=checkerboard]")],
    [["s"], "S", "side by side", click("[data-layout=side]")],
    [["0"], "0", "no map", click("[data-map=none]")],
    [["j"], "J", "Jacobian", click("[data-map=jacobian]")],
    [["d"], "D", "displacement", click("[data-map=displacement]")],
    [["l"], "L", "local displacement", click("[data-map=local]")],
    [["g"], "G", "deformation grid", click("[data-lines=grid]")],
    [["m"], "M", "contours of masks and labels", click("#contours:not([hidden]) [data-lines=contours]")],
    // Radiological: the patient's right, where x increases, is at the left of the picture.
    [["ArrowLeft"], "← →", "crosshair to the sides", move(0, 1)],
    [["ArrowRight"], "", "", move(0, -1)],
    [["ArrowUp"], "↑ ↓", "crosshair to front and back", move(1, 1)],
    [["ArrowDown"], "", "", move(1, -1)],
  ];
  if (scene.study.dimension === 2) return list;
  return [...list, [["PageUp"], "page ↑ ↓", "crosshair up and down", move(2, 1)], [["PageDown"], "", "", move(2, -1)]];
}

// In a blend show both; then switch between the fixed and the other image.
function alternate(scene, click) {
  return () => click(`[data-image=${scene.shown.blend === 0 ? scene.shown.other : "fixed"}]`)();
}

function setBlend(percent) {
  document.querySelector("[data-layout=blend]").click();
  const slider = document.getElementById("blend");
  slider.value = percent;
  slider.dispatchEvent(new Event("input"));
}

// Shortcuts do not apply where the focused control uses the key itself, nor together with Ctrl, Alt or Meta.
export function listen(scene, line, step) {
  const list = shortcuts(scene, step);
  const actions = new Map(list.flatMap(([keys, , , action]) => keys.map((key) => [key, action])));
  window.addEventListener("keydown", (event) => {
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const focused = (selector) => event.target.closest?.(selector);
    const typing = focused("input[type=number]") || (name === " " && focused("button, summary, [type=checkbox]"));
    const sliding = /^(Arrow|Page)/.test(name) && focused("[type=range]");
    if (typing || sliding || event.ctrlKey || event.altKey || event.metaKey || !actions.has(name)) return;
    event.preventDefault();
    event.stopPropagation(); // NiiVue has keys of its own
    actions.get(name)();
  }, { capture: true });
  line.replaceChildren("Keys:", ...list.filter(([, label]) => label).map(([, label, text]) => {
    const [part, key] = [document.createElement("span"), document.createElement("kbd")];
    key.textContent = label;
    part.append(key, ` ${text}`);
    return part;
  }));
}
