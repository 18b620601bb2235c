// The NiiVue scene: volumes shown, their opacity, and the crosshair.

import { Partner } from "./partner.js";

const { Niivue, NVImage } = window.niivue;

const GREYS = { R: [0, 255], G: [0, 255], B: [0, 255], A: [255, 255], I: [0, 255] };
// Unshaded: the colours of landmarks show their errors.
const PLAIN = `#version 300 es
precision highp float;
uniform float opacity;
in vec4 vClr;
out vec4 color;
void main() { color = vec4(vClr.rgb, opacity); }`;
const OPTIONS = {
  backColor: [0, 0, 0, 1], crosshairColor: [0.44, 0.86, 0.86, 0.9], crosshairWidthUnit: "mm", fontColor: [0.75, 0.8, 0.82, 1],
  isCornerOrientationText: false, fontMinPx: 15,
  isSliceMM: true, isRadiologicalConvention: true, sagittalNoseLeft: true, multiplanarShowRender: 0, multiplanarPadPixels: 6, tileMargin: 4,
  dragMode: 3, dragAndDropEnabled: false, viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "",
  isColorbar: false, logLevel: "error", showLegend: false,
};

export class Scene {
  constructor(canvas, partnerCanvas, study, moved) {
    this.study = study;
    this.windows = study.windows;
    this.maps = {};
    this.loaded = new Map();
    this.shown = { other: "warped", blend: 0.5, map: "none", strength: 0.6, layout: "blend" };
    this.meshes = [];
    this.canvas = canvas;
    this.partner = new Partner(this, partnerCanvas);
    this.moved = moved;
  }

  async start() {
    this.nv = await this.attach(this.canvas);
    this.nv.onLocationChange = () => this.moved(this.point());
    this.plain = this.nv.setCustomMeshShader(PLAIN, "Plain");
    this.nv.addVolume(await this.volume("fixed"));
    await this.show({});
    this.moveTo(this.study.centre);
  }

  // Return NiiVue on a canvas.
  async attach(canvas) {
    const { extent, dimension } = this.study;
    const nv = new Niivue({ ...OPTIONS, crosshairWidth: extent / 400, crosshairGap: extent / 25 });
    await nv.attachToCanvas(canvas);
    if (!nv.gl) throw new Error("this browser does not support WebGL 2");
    nv.addColormap("greys", GREYS);
    for (const [name, map] of Object.entries(this.maps)) addMapColours(nv, name, map);
    nv.setSliceType(dimension === 2 ? nv.sliceTypeAxial : nv.sliceTypeMultiplanar);
    return nv;
  }

  // Volumes are fetched once, when they are first shown.
  volume(name) {
    if (!this.loaded.has(name)) {
      const promise = this.fetchVolume(name);
      promise.catch(() => this.loaded.delete(name)); // the next call fetches again
      this.loaded.set(name, promise);
    }
    return this.loaded.get(name);
  }

  fetchVolume(name) {
    const colormap = name in this.windows ? "greys" : name;
    return NVImage.loadFromUrl({ url: new URL(`${name}.nii`, window.location.href).href, name: `${name}.nii`, colormap });
  }

  range(name) {
    return this.windows[name] ?? [this.maps[name].low, this.maps[name].high];
  }

  setMaps(maps) {
    this.maps = maps;
    for (const nv of [this.nv, this.partner.nv]) {
      if (nv) for (const [name, map] of Object.entries(maps)) addMapColours(nv, name, map);
    }
  }

  // One drawing at a time: sliders move faster than a software renderer draws, and pending drawings would accumulate.
  show(change) {
    Object.assign(this.shown, change);
    this.stale = true;
    this.drawing ??= this.drawUntilCurrent().finally(() => { this.drawing = null; });
    return this.drawing;
  }

  async drawUntilCurrent() {
    while (this.stale) {
      this.stale = false;
      await this.draw();
      await this.rendered();
    }
  }

  setWindow(name, low, high) {
    for (const each of name === "fixed" ? ["fixed"] : ["moving", "warped"]) this.windows[each] = [low, high];
    return this.show({});
  }

  async draw() {
    const { other, map, layout } = this.shown;
    const blend = layout === "blend" ? this.shown.blend : 0;
    this.compose(this.nv, await this.layers(blend, other, map));
    if (layout === "blend") this.partner.hide();
    else await this.partner.show(await this.layers(1, other, map));
  }

  // Return what is shown as [volume, opacity, range]. The fixed image is always there: the first volume is the frame.
  async layers(blend, other, map) {
    const layers = [["fixed", blend < 1 ? 1 : 0]]; // at 1 it is hidden outside of the other image, too
    if (blend > 0) layers.push([other, blend]);
    if (map !== "none" && this.shown.strength > 0) layers.push([map, this.shown.strength]);
    return Promise.all(layers.map(async ([name, opacity]) => [await this.volume(name), opacity, this.range(name)]));
  }

  compose(nv, layers) {
    for (const [volume, opacity, range] of layers) {
      volume.opacity = opacity;
      [volume.cal_min, volume.cal_max] = range;
    }
    nv.volumes = layers.map(([volume]) => volume);
    nv.back = nv.volumes[0];
    nv.overlays = nv.volumes.slice(1);
    nv.updateGLVolume();
  }

  async rendered() {
    const gl = this.nv.gl;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    do await new Promise(requestAnimationFrame);
    while (gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED && !gl.isContextLost());
    gl.deleteSync(fence);
  }

  showMeshes(connectomes) {
    this.nv.meshes = [];
    for (const connectome of connectomes) {
      const mesh = this.nv.loadConnectomeAsMesh(connectome);
      this.nv.addMesh(mesh);
      this.nv.setMeshShader(mesh.id, this.plain);
    }
    this.nv.updateGLVolume();
  }

  // Move the crosshair by a vector in mm, within the box of the fixed image.
  moveBy(vector) {
    const target = this.nv.mm2frac(this.point().map((value, i) => value + vector[i]), 0, true);
    this.nv.scene.crosshairPos = target.map((value) => Math.min(Math.max(value, 0), 1));
    this.nv.drawScene();
    this.moved(this.point());
  }

  point() {
    return [...this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true)].slice(0, 3);
  }

  moveTo(point) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(point, 0, true);
    this.nv.drawScene();
    this.moved(this.point());
  }
}

function addMapColours(nv, name, map) {
  const [R, G, B] = [0, 1, 2].map((channel) => map.colours.map((colour) => colour[channel]));
  nv.addColormap(name, { R, G, B, A: R.map(() => 255), I: R.map((_, i) => i) });
}
