// The browser's camera: open it, take a photo, release it.

const MAX_SIDE = 1280;

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

export class Camera {
  constructor(video) {
    this.video = video;
    this.stream = null;
  }

  async open() {
    if (!hasCamera()) {
      throw new Error("Browsers allow camera access only over HTTPS or on localhost.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    } catch (error) {
      throw new Error(
        error.name === "NotAllowedError"
          ? "Camera access was denied. Allow it for this page in your browser's settings."
          : "No camera was found, or another application is using it.",
      );
    }
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = this.video.srcObject = null;
  }

  // The current frame as a JPEG file; the longer side has at most `side` pixels.
  async take(side = MAX_SIDE) {
    const { videoWidth: width, videoHeight: height } = this.video;
    const scale = Math.min(1, side / Math.max(width, height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
    return new File([blob], "camera.jpg", { type: "image/jpeg" });
  }
}
