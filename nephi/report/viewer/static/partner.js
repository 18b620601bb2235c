// A second scene with the other image: beside the first, or above it through the squares of a checkerboard.

const SHARED = ["crosshairPos", "pan2Dxyzmm"]; // of NiiVue's scenes: crosshair, and shift and zoom

// Let two NiiVue instances show the same planes: each drawing of one that changes them redraws the other.
function follow(leader, follower, isActive) {
  const draw = leader.drawScene.bind(leader);
  leader.drawScene = (...rest) => {
    const result = draw(...rest);
    if (isActive()) {
      const changed = SHARED.filter((name) => differs(leader.scene[name], follower.scene[name]));
      for (const name of changed) follower.scene[name] = leader.scene[name].slice();
      if (changed.length) follower.drawScene();
    }
    return result;
  };
}

function differs(one, other) {
  return one.some((value, i) => Math.abs(value - other[i]) > 1e-6);
}

export class Partner {
  constructor(scene, canvas) {
    this.scene = scene;
    this.canvas = canvas;
    this.active = false;
  }

  // Start NiiVue at the first use: many never need it, and it takes memory of the graphics card.
  async start() {
    this.nv = await this.scene.attach(this.canvas);
    follow(this.scene.nv, this.nv, () => this.active);
    follow(this.nv, this.scene.nv, () => this.active);
    this.nv.onLocationChange = () => this.scene.moved(this.scene.point());
  }

  // Draw layers of [volume, opacity, range]; `Object.create` gives a volume a second opacity without a second copy.
  async show(layers) {
    this.nv ?? await (this.starting ??= this.start());
    this.active = true;
    for (const name of SHARED) this.nv.scene[name] = this.scene.nv.scene[name].slice();
    this.scene.compose(this.nv, layers.map(([volume, ...rest]) => [Object.create(volume), ...rest]));
  }

  hide() {
    this.active = false;
  }
}
