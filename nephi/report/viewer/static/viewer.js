// Controls around the canvas: buttons, sliders, values at the crosshair.

import { listen } from "./keyboard.js";
import { Landmarks } from "./landmarks.js";
import { Lines } from "./lines.js";
import { Scene } from "./scene.js";

const $ = (id) => document.getElementById(id);
const NOTES = {
  jacobian: "Jacobian determinant: 1 (white) preserves volume, 2 doubles it in the moving image. Magenta: fold (0 or less).",
  displacement: "Length of the displacement u(x) = φ(x) − x in mm, including the affine part.",
  local: "Length of the local displacement in mm: what is left of it without the affine map that fits it best.",
};

function showStatus(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

async function fetchJson(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

// Return a function that fetches and shows the values at a point: one request at a time, and always the latest point.
function valuesAt(dimension) {
  let busy = false;
  let pending = null;
  return async (point) => {
    pending = point;
    if (busy) return;
    busy = true;
    try {
      while (pending) {
        const current = pending;
        pending = null;
        showValues(current, await fetchJson(`values?point=${current.slice(0, dimension).join(",")}`), dimension);
      }
    } catch (error) {
      showStatus(`No values: ${error.message}`, true);
    } finally {
      busy = false;
    }
  };
}

function showValues(point, values, dimension) {
  const coordinates = (numbers) => numbers.slice(0, dimension).map((n) => n.toFixed(1)).join(", ");
  $("point").textContent = coordinates(point);
  $("moved").textContent = values.moved ? coordinates(values.moved) : "–";
  for (const [name, digits] of [["fixed", 1], ["moving", 1], ["warped", 1], ["jacobian", 3], ["displacement", 2]]) {
    const value = values[name];
    const small = digits === 1 && value !== null && Math.abs(value) < 10; // e.g. images with intensities 0 to 1
    $(`value-${name}`).textContent = value === null ? "–" : value.toFixed(small ? 3 : digits);
  }
  $("value-jacobian").classList.toggle("fold", values.jacobian !== null && values.jacobian <= 0);
  document.body.dataset.point = JSON.stringify(point);
}

function press(group, chosen) {
  for (const button of $(group).querySelectorAll("button")) button.setAttribute("aria-pressed", button === chosen);
}

function pressed(button) {
  return button.getAttribute("aria-pressed") === "true";
}

// Press the button of an image that is shown alone; for a blend press none, and name the other image at the slider.
function pressShown(scene) {
  const { other, blend, layout } = scene.shown;
  const name = layout !== "blend" ? other : blend === 0 ? "fixed" : blend === 1 ? other : null;
  press("images", name && $("images").querySelector(`[data-image=${name}]`));
  $("other-name").textContent = $("partner-name").textContent = other;
  press("layouts", $("layouts").querySelector(`[data-layout=${layout}]`));
  $("screen").dataset.layout = layout;
  $("partner-pane").hidden = layout === "blend";
  $("blend").disabled = layout !== "blend";
  $("blend").value = 100 * blend;
}

function connect(scene, landmarks) {
  const drawLandmarks = () => landmarks?.draw($("landmarks-shown").checked, showsMoving(scene));
  const change = async (values) => {
    const before = showsMoving(scene);
    try {
      const drawing = scene.show(values);
      pressShown(scene);
      await drawing;
    } catch (error) {
      showStatus(error.message, true);
    }
    if (showsMoving(scene) !== before) drawLandmarks();
    if (landmarks) noteLandmarks(scene);
  };
  for (const button of $("images").querySelectorAll("button")) {
    const name = button.dataset.image;
    button.addEventListener("click", () => change(imageChange(scene, name)));
  }
  for (const button of $("layouts").querySelectorAll("button")) {
    button.addEventListener("click", () => change({ layout: button.dataset.layout }));
  }
  $("blend").addEventListener("input", () => change({ blend: $("blend").valueAsNumber / 100 }));
  $("strength").addEventListener("input", () => change({ strength: $("strength").valueAsNumber / 100 }));
  for (const button of $("maps").querySelectorAll("button")) {
    button.addEventListener("click", () => showMap(scene, button, change));
  }
  for (const input of document.querySelectorAll("[data-window]")) {
    const name = input.dataset.window;
    const ends = [...document.querySelectorAll(`[data-window=${name}]`)];
    input.value = Number(scene.windows[name][input.dataset.end === "low" ? 0 : 1].toPrecision(4));
    input.addEventListener("change", () => {
      const [low, high] = ends.map((end) => end.valueAsNumber);
      if (low < high) scene.setWindow(name, low, high).catch((error) => showStatus(error.message, true));
    });
  }
  $("landmarks-shown").addEventListener("change", drawLandmarks);
  drawLandmarks();
  pressShown(scene);
}

// In a comparison of two images a button selects the other one; the fixed image alone ends the comparison.
function imageChange(scene, name) {
  if (name === "fixed") return { blend: 0, layout: "blend" };
  return scene.shown.layout === "blend" ? { other: name, blend: 1 } : { other: name };
}

function connectLines(lines, { spacing, contours, colours }) {
  $("grid-spacing").textContent = `of ${spacing} mm`;
  $("contours").hidden = !contours.length;
  $("contour-names").replaceChildren("(", ...contours.map((side) => {
    const [name, swatch] = [document.createElement("span"), document.createElement("span")];
    swatch.className = "swatch";
    swatch.style.background = `rgb(${colours[side].join(" ")})`;
    name.append(swatch, side === "moving" ? "moving, warped" : side);
    return name;
  }), ")");
  for (const box of document.querySelectorAll("[data-lines]")) {
    box.addEventListener("change", () => lines.show(box.dataset.lines, box.checked));
  }
}

function showsMoving(scene) {
  return scene.shown.layout === "blend" && scene.shown.other === "moving" && scene.shown.blend > 0.5;
}

function noteLandmarks(scene) {
  $("landmarks-note").textContent = showsMoving(scene)
    ? "Coloured: fixed points mapped by the transform. White: the corresponding moving points."
    : "At the fixed points, coloured by error.";
}

async function showMap(scene, button, change) {
  const name = button.dataset.map;
  press("maps", button);
  if (name !== "none" && !(name in scene.maps)) {
    showStatus("Computing the maps …");
    try {
      scene.setMaps(await fetchJson("maps.json"));
    } catch (error) {
      if (pressed(button)) showStatus(error.message, true);
      return;
    }
    if (!pressed(button)) return; // another button was clicked in the meantime
  }
  $("legend").hidden = name === "none";
  if (name !== "none") drawLegend(scene.maps[name], NOTES[name]);
  await change({ map: name });
  if (pressed(button) && !$("status").classList.contains("wrong")) showStatus("");
}

function drawLegend(map, note) {
  const paint = $("ramp").getContext("2d");
  map.colours.forEach((colour, i) => {
    paint.fillStyle = `rgb(${colour.join(" ")})`;
    paint.fillRect(i, 0, 1, 1);
  });
  $("marks").style.marginLeft = `${100 * map.bare}%`;
  $("marks").replaceChildren(...map.marks.map((mark) => {
    const label = document.createElement("span");
    label.textContent = mark;
    return label;
  }));
  $("map-note").textContent = note;
}

async function start() {
  const study = await fetchJson("study.json");
  for (const name of ["fixed", "moving"]) $(`${name}-name`).textContent = study[name];
  document.title = `${study.fixed} and ${study.moving} – nephi`;
  $("orientation").textContent = "Radiological orientation: the patient's right (R) is at the left of the picture. "
    + `Click or drag to move the crosshair${study.dimension === 3 ? ", scroll to change the plane" : ""}. Coordinates are world mm, RAS.`;
  const scene = new Scene($("canvas"), $("partner"), study, valuesAt(study.dimension));
  await scene.start();
  let landmarks = null;
  if (study.landmarks.length) {
    landmarks = new Landmarks(scene, study.landmarks, study.extent / 90);
    landmarks.list($("landmark-list"));
    $("landmarks-title").textContent = study.points === "keypoints" ? "Keypoints" : "Landmarks";
    $("points-name").textContent = study.points;
    $("landmarks").hidden = false;
    noteLandmarks(scene);
  }
  connect(scene, landmarks);
  connectLines(new Lines(scene, $("lines"), (error) => showStatus(error.message, true)), study.lines);
  listen(scene, $("keys"), study.step);
  press("maps", $("maps").querySelector("[data-map=none]"));
  showStatus("");
  document.body.dataset.ready = "yes";
}

start().catch((error) => showStatus(`The viewer could not start: ${error.message}`, true));
