"use strict";

// The file contains each sprite sheet once; further copies take their source from it.
for (const image of document.querySelectorAll("img[data-copy-of]")) {
  image.src = document.getElementById(image.dataset.copyOf).src;
}

// Show a plane in all pictures and sliders of a view.
function show(view, plane) {
  for (const stage of document.querySelectorAll(`.stage[data-view="${view}"]`)) {
    const columns = Number(stage.style.getPropertyValue("--columns"));
    stage.style.setProperty("--column", plane % columns);
    stage.style.setProperty("--row", Math.floor(plane / columns));
    for (const mark of stage.querySelectorAll("circle")) {
      mark.classList.toggle("near", Number(mark.dataset.plane) === plane);
    }
  }
  for (const slider of document.querySelectorAll(`input[data-slides="${view}"]`)) {
    const position = slider.dataset.positions.split(" ")[plane];
    slider.value = plane;
    slider.setAttribute("aria-valuetext", `${position} mm`);
    slider.closest("label").querySelector("output").textContent = position;
    const folds = slider.closest(".view").querySelector("[data-folds]");
    if (folds) folds.querySelector("output").textContent = folds.dataset.folds.split(" ")[plane];
  }
}

for (const slider of document.querySelectorAll("input[data-slides]")) {
  slider.addEventListener("input", () => show(slider.dataset.slides, Number(slider.value)));
  show(slider.dataset.slides, Number(slider.value));
}

const images = document.getElementById("images");
for (const choice of images.querySelectorAll("input[name=mode]")) {
  choice.addEventListener("change", () => { images.dataset.mode = choice.value; });
  if (choice.checked) images.dataset.mode = choice.value;
}

// With reduced motion the fixed image is shown constantly, without flicker, while the picture has pointer or focus.
const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
for (const frame of document.querySelectorAll("[data-flickers]")) {
  let timer = 0;
  const stop = () => {
    window.clearInterval(timer);
    timer = 0;
    frame.classList.remove("swapped");
  };
  const start = () => {
    if (timer) return;
    frame.classList.add("swapped");
    timer = window.setInterval(() => { if (!reducedMotion.matches) frame.classList.toggle("swapped"); }, 450);
  };
  frame.addEventListener("pointerenter", start);
  frame.addEventListener("focus", start);
  frame.addEventListener("pointerleave", stop);
  frame.addEventListener("blur", stop);
}
