// Lines over the planes: the deformation grid and contours, pictures of the server on a canvas above NiiVue's.

const VIEWS = ["axial", "coronal", "sagittal"]; // NiiVue's numbers of its slice types
const MOST = 60; // pictures kept

export class Lines {
  constructor(scene, canvas, failed) {
    this.scene = scene;
    this.canvas = canvas;
    this.failed = failed;
    this.kinds = new Set();
    this.pictures = new Map();
    const { nv } = scene;
    const draw = nv.drawScene.bind(nv);
    nv.drawScene = (...rest) => {
      const result = draw(...rest);
      this.draw();
      return result;
    };
  }

  show(kind, shown) {
    if (shown) this.kinds.add(kind);
    else this.kinds.delete(kind);
    this.draw();
  }

  draw() {
    const { canvas, scene: { nv, study } } = this;
    [canvas.width, canvas.height] = [nv.canvas.width, nv.canvas.height]; // clears it
    canvas.dataset.drawn = "";
    if (!this.kinds.size) return;
    const paint = canvas.getContext("2d");
    const point = this.scene.point();
    let complete = true;
    nv.screenSlices.forEach((slice) => {
      if (slice.axCorSag > 2) return;
      const name = study.dimension === 2 ? "plane" : VIEWS[slice.axCorSag];
      const view = study.lines.views[name];
      const picture = this.picture(name, view.normal === null ? 0 : point[view.normal]);
      if (picture) this.place(paint, picture, slice, view);
      else complete = false;
    });
    if (complete) canvas.dataset.drawn = [...this.kinds].join(" "); // for tests
  }

  // Return the picture of a plane, or null while it is fetched: then all is drawn again.
  picture(view, position) {
    const address = `lines.png?view=${view}&position=${position.toFixed(2)}&kinds=${[...this.kinds].sort().join(",")}`;
    if (!this.pictures.has(address)) {
      if (this.pictures.size >= MOST) this.pictures.delete(this.pictures.keys().next().value);
      this.pictures.set(address, null);
      this.load(address);
    }
    return this.pictures.get(address);
  }

  async load(address) {
    try {
      const response = await fetch(address);
      if (!response.ok) throw new Error(await response.text());
      this.pictures.set(address, await createImageBitmap(await response.blob()));
      this.draw();
    } catch (error) {
      this.pictures.delete(address);
      this.failed(error);
    }
  }

  // Draw a picture where NiiVue shows the world coordinates of its corners, clipped to the slice.
  place(paint, picture, slice, view) {
    const { leftTopWidthHeight: [edge, top, signed, height], leftTopMM, fovMM } = slice;
    const [left, width] = [Math.min(edge, edge + signed), Math.abs(signed)]; // negative: drawn from right to left
    const part = (value, axis) => (value - leftTopMM[axis]) / fovMM[axis];
    const x = (value) => left + width * (signed < 0 ? 1 - part(value, 0) : part(value, 0));
    const y = (value) => top + height * (1 - part(value, 1));
    const [x0, y0, x1, y1] = [x(view.start[0]), y(view.start[1]), x(view.end[0]), y(view.end[1])];
    paint.save();
    paint.beginPath();
    paint.rect(left, top, width, height);
    paint.clip();
    paint.translate(x0, y0);
    paint.scale((x1 - x0) / picture.width, (y1 - y0) / picture.height);
    paint.drawImage(picture, 0, 0);
    paint.restore();
  }
}
