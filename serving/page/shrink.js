/** Smaller copies of pictures, made in the browser: what the server would refuse, and what is shown in a list. */

const QUALITY = 0.92;
const TRIES = 8;
const THUMBNAIL = 160;

async function drawn(picture, width, height, quality) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return canvas.convertToBlob({ type: "image/jpeg", quality });
}

/**
 * A copy that the server takes, and a sentence on it; null where the browser cannot read the picture.
 *
 * The sides are made smaller as far as the limits want, and the file is a JPEG.
 */
export async function shrunk(file, { max_pixels: maxPixels, max_body_bytes: maxBytes }) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (picture === null) return null;
  const { width, height } = picture;
  try {
    let scale = Math.min(1, Math.sqrt(maxPixels / (width * height)));
    for (let tries = 0; tries < TRIES; tries += 1, scale *= 0.7) {
      const [across, down] = [width, height].map((side) => Math.max(1, Math.floor(side * scale)));
      const image = await drawn(picture, across, down, QUALITY);
      if (image.size > maxBytes) continue;
      const limit = width * height > maxPixels ? `${maxPixels.toLocaleString("en")} pixels` : bytes(maxBytes);
      const from = `${width} × ${height}`;
      const what = scale < 1 ? `Scaled from ${from} to ${across} × ${down} pixels` : `Compressed to ${bytes(image.size)}`;
      return { image, note: `${what} here, because the server takes ${limit} at most.` };
    }
    return null;
  } finally {
    picture.close();
  }
}

/** A small JPEG for a list; null where the browser cannot read the picture. */
export async function thumbnail(file) {
  const whole = await createImageBitmap(file).catch(() => null);
  if (whole === null) return null;
  try {
    const scale = Math.min(1, THUMBNAIL / Math.min(whole.width, whole.height));
    const [across, down] = [whole.width, whole.height].map((side) => Math.max(1, Math.round(side * scale)));
    return await drawn(whole, across, down, 0.8);
  } finally {
    whole.close();
  }
}

function bytes(count) {
  return count >= 1e6 ? `${(count / 1e6).toFixed(1)} MB` : `${Math.ceil(count / 1e3)} kB`;
}
