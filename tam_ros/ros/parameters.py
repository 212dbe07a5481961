# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the node: one dataclass defines their names, types, defaults and limits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, cast

from tam_ros.detection import detector_names
from tam_ros.prompting.clicks import MODES
from tam_ros.prompting.detection_filter import PIXELS, wrong_coordinates
from tam_ros.regular_file import resolve_inside
from tam_ros.ros.images.transports import DEPTH, IMAGES, what_is_missing
from tam_ros.ros.parameter import (
    Parameter,
    model_names,
    needs_tf2_msgs,
    not_a_detector,
    not_a_folder,
    not_a_model,
    not_a_segmenter,
    parameter,
    segmenter_names,
)
from tam_ros.runtime.backends import PRECISIONS, RUNTIMES
from tam_ros.runtime.engine_options import BUILD
from tam_ros.tracking.options import RESIZE_FILTERS, TrackerOptions

RECTIFIED = ('auto', 'raw', 'rectified')


@dataclass(frozen=True)
class Parameters:
    """The values of all parameters at one time.

    A new parameter is one field here; it is declared, checked, documented in docs/topics.md and
    listed in config/track.yaml from it.
    """

    model: str = parameter(
        'efficienttam_nano',
        'Name of the model in the catalogue (engines/models.yaml).',
        names=model_names,
        check=not_a_model,
    )
    weights: str = parameter(
        '',
        'Checkpoint file or folder of exported graphs. Empty: the bundled or downloaded weights.',
    )
    allowed_weights_dir: str = parameter(
        '',
        'Folder in which `weights`, and those of every other model, must be, by its absolute '
        'path; links that lead out of it are refused. Weights that are downloaded or come with '
        'the package are used as well. Set it where others may call the parameter services of '
        'the node. Empty: anywhere.',
        read_only=True,
        check=not_a_folder,
    )
    segment_model: str = parameter(
        '',
        'Further model, such as edgesam, that answers the service ~/segment. It runs between two '
        'images, which wait meanwhile. Empty: the model of the tracker.',
        names=segmenter_names,
        check=not_a_segmenter,
    )
    prompt_model: str = parameter(
        '',
        'Further model, such as edgesam, that turns the box or clicks of a new object into a mask '
        'with which the tracker begins. The image of the prompt takes longer. Empty: none.',
        names=segmenter_names,
        check=not_a_segmenter,
    )
    segment_weights: str = parameter(
        '',
        'As `weights`, of `segment_model` and `prompt_model`.',
    )
    runtime: str = parameter(
        'onnxruntime',
        'Library that runs the model.',
        choices=tuple(RUNTIMES),
    )
    precision: str = parameter(
        'auto',
        'Number format of the computation. auto: the default of the runtime, which is half '
        'precision with tensorrt. A precision that the runtime does not support is refused.',
        choices=PRECISIONS,
    )
    build_engines: str = parameter(
        'never',
        'Whether to build missing tensorrt engines when the node configures, which takes '
        'minutes. never: build them beforehand with `ros2 run tam_ros build_engines`.',
        choices=BUILD,
    )
    zero_copy: bool = parameter(
        False,
        'With tensorrt, keep images and masks in memory that host and GPU share. Saves copies on '
        'a Jetson, costs time on a discrete graphics card.',
    )
    cuda_graphs: bool = parameter(
        False,
        'With tensorrt, launch all kernels of an engine at once, which takes less CPU time. Off '
        'by default, since the gain has not been measured on a device yet.',
    )
    threads: int = parameter(
        0,
        'CPU threads of the runtime. 0: the library chooses.',
        limits=(0, 256),
    )
    max_objects: int = parameter(
        16,
        'Objects that can be tracked at the same time. Memory for all of them is allocated when '
        'the node configures.',
        limits=(1, 255),
    )
    max_new_objects: float = parameter(
        2.0,
        'New objects per second, of all prompts, clicks and detections together; 64 more, or '
        'max_objects, may come at once. There are 65535 ids until a reset, which last nine hours '
        'at 2. Higher lets a program that adds and removes objects in a loop use them up sooner. '
        '0: any number.',
        live=True,
        limits=(0.0, 1000.0),
    )
    lost_after: float = parameter(
        2.0,
        'Seconds out of sight after which the state of an object is lost instead of occluded.',
        live=True,
        limits=(0.0, 3600.0),
    )
    resize: str = parameter(
        'opencv',
        'Filter that resizes images to the size of the model. opencv is several times faster; '
        'pil is the filter behind the published accuracies, and `tam` uses it on recordings.',
        choices=RESIZE_FILTERS,
    )
    refined_frames_condition: bool = parameter(
        True,
        'Keep corrections of a tracked object in its memory bank permanently. Off, they are '
        'forgotten after six images, as in the official predictor.',
        live=True,
    )
    skip_occluded_memories: bool = parameter(
        False,
        'Do not store memories of images on which an object is not visible, so that its '
        'appearance survives a long occlusion. Off, they are stored as empty, as in the official '
        'predictor.',
        live=True,
    )
    hide_below: float = parameter(
        0.0,
        'Share of the usual confidence of an object below which its mask is not shown and the '
        'object is occluded, since the mask probably lies on something else. With the bundled '
        'model, 0.5 hides most masks of absent objects, and some right ones. 0: show every mask, '
        'as the official predictor does.',
        live=True,
        limits=(0.0, 1.0),
    )
    remove_after: float = parameter(
        0.0,
        'Seconds out of sight after which an object is removed. 0: never; otherwise at least '
        'lost_after.',
        live=True,
        limits=(0.0, 86400.0),
    )
    autostart: bool = parameter(
        True,
        'Configure and activate at start. Off: wait for a lifecycle manager.',
    )
    keep_objects: bool = parameter(
        True,
        'Keep the objects when the node is deactivated, and track them again after activation. '
        'Off, they are removed as by ~/reset.',
        live=True,
    )
    image_transport: str = parameter(
        'raw',
        'How the images are sent. raw: sensor_msgs/Image on `image`. compressed: '
        'sensor_msgs/CompressedImage on `image/compressed`, or on `image` itself if that carries '
        'it. ffmpeg, foxglove: H.264, H.265, AV1 or VP9 packets, ffmpeg_image_transport_msgs/'
        'FFMPEGPacket or foxglove_msgs/CompressedVideo, likewise; needs PyAV.',
        choices=tuple(IMAGES),
        check=lambda name: what_is_missing(IMAGES[name]),
    )
    max_image_megapixels: int = parameter(
        40,
        'Most million pixels of an image, a depth image or a mask. Larger ones are refused by '
        'their header, before they are decoded. Higher allows larger cameras, and lets whoever '
        'can publish take more memory and time.',
        limits=(1, 268),
    )
    qos_reliability: str = parameter(
        'auto',
        'Reliability of the subscriptions to `image` and `depth`. auto: reliable while all '
        'publishers are, since large images then arrive complete, otherwise best effort. '
        'best_effort: a slow network delays no image, and loses more. reliable does not receive '
        'from best-effort publishers.',
        choices=('auto', 'best_effort', 'reliable'),
    )
    publish_masks: bool = parameter(
        False,
        'Fill TrackedObject.mask_png, which includes the parts that other objects overlap.',
        live=True,
    )
    publish_tf: bool = parameter(
        False,
        'Publish a TF frame for every object whose position is known, as a child of the frame of '
        'the images. Needs tf2_msgs.',
        live=True,
        check=needs_tf2_msgs,
    )
    depth_transport: str = parameter(
        'raw',
        'How depth is sent. raw: sensor_msgs/Image on `depth`. compressedDepth, or compressed if '
        'that has PNG: sensor_msgs/CompressedImage on `depth/compressedDepth` or '
        '`depth/compressed`, or on `depth` itself if that carries it.',
        choices=tuple(DEPTH),
    )
    depth_unit: float = parameter(
        0.0,
        'Metres of one unit of the values of depth, such as 0.0001 for a RealSense D405. 0: as in '
        'REP 118, 0.001 for 16UC1 and 1 for 32FC1.',
        live=True,
        limits=(0.0, 1.0),
    )
    depth_ignore_frame: bool = parameter(
        False,
        'Also use depth with another frame_id than that of the images: some drivers give it the '
        'name of another frame, although it is registered to the images.',
        live=True,
    )
    depth_tolerance: float = parameter(
        0.02,
        'Seconds by which the stamps of an image and its depth image may differ. Higher allows '
        'cameras that are not synchronised, and makes positions of moving objects wrong.',
        live=True,
        limits=(0.0, 10.0),
    )
    depth_wait: float = parameter(
        0.03,
        'Maximum seconds that the results of a tracked image wait for its depth image. Higher '
        'allows slower depth, and lowers the rate. 0: do not wait.',
        live=True,
        limits=(0.0, 5.0),
    )
    depth_min: float = parameter(
        0.1,
        'Metres; depth of this or less is ignored as a sensor error.',
        live=True,
        limits=(0.0, 1000.0),
    )
    depth_max: float = parameter(
        10.0,
        'Metres; depth of this or more is ignored.',
        live=True,
        limits=(0.0, 1000.0),
    )
    depth_erosion: int = parameter(
        1,
        'Pixels removed from the edge of a mask before its depth is measured. Higher excludes the '
        'background where masks are too large, and loses thin parts.',
        live=True,
        limits=(0, 50),
    )
    prompt_history_seconds: float = parameter(
        2.0,
        'Seconds for which tracked images are kept, at most 30 of them, so that a prompt is '
        'applied to the image it was made on. Higher allows slower operators and takes memory: '
        '1.0 MB per image and 0.15 MB per object at 384 pixels, 2.9 and 0.26 at 512, 11.5 and '
        '1.05 at 1024. 0: prompts are applied to the next image.',
        limits=(0.0, 60.0),
    )
    catch_up: int = parameter(
        4,
        'Maximum number of past images replayed between two new ones for a late prompt. '
        'Higher shows its object sooner, lower keeps the rate steadier.',
        live=True,
        limits=(2, 60),
    )
    click_mode: str = parameter(
        'auto',
        'What a click on ~/click or clicked_point does; see "Clicks" in docs/topics.md. '
        '~/set_click_mode changes this parameter.',
        live=True,
        choices=MODES,
    )
    click_window: float = parameter(
        3.0,
        'Seconds after a click within which the next one corrects the same object, in the mode '
        'auto. Higher leaves more time for corrections, lower allows adding objects faster.',
        live=True,
        limits=(0.0, 60.0),
    )
    rectified: str = parameter(
        'auto',
        'Whether the images are rectified, so that P of camera_info applies, or raw, so that K '
        'and D apply. auto: rectified if the name of their topic contains the word rect, such as '
        'image_rect.',
        live=True,
        choices=RECTIFIED,
    )
    detector: str = parameter(
        '',
        'Detector that the node runs itself: everything, which needs no weights, or a model of '
        'the kind detector in the catalogue. What it finds is tracked by the rules of '
        '~/detections. Empty: none.',
        names=detector_names,
        check=not_a_detector,
    )
    detector_weights: str = parameter(
        '',
        'Checkpoint file or folder of exported graphs of the detector. Empty: the downloaded '
        'weights; of everything, those of the model.',
    )
    detector_rate: float = parameter(
        1.0,
        'How often the detector looks, times per second at most. 0: only when ~/detect_once asks. '
        'Higher finds new objects sooner.',
        live=True,
        limits=(0.0, 30.0),
    )
    detector_share: float = parameter(
        0.25,
        'Largest share of the time that the detector computes; it rests after each look. Higher '
        'lets a slow detector look more often; while it computes, the tracker may be slower.',
        live=True,
        limits=(0.01, 1.0),
    )
    detector_classes: str = parameter(
        '',
        'Classes that the detector reports, separated by commas: "person, cup". Empty: all.',
        live=True,
    )
    detector_min_score: float = parameter(
        0.5,
        'Lowest score at which what the detector finds becomes an object. Higher adds fewer false '
        'objects.',
        live=True,
        limits=(0.0, 1.0),
    )
    detector_grid: int = parameter(
        8,
        'Clicks along each side of the image, of the detector everything. Higher finds smaller '
        'objects and takes more time, with the square of it.',
        limits=(1, 64),
    )
    detection_classes: str = parameter(
        '',
        'Classes of ~/detections that become objects, separated by commas: "person, cup". Empty: '
        'all.',
        live=True,
    )
    detection_min_score: float = parameter(
        0.5,
        'Lowest score at which a detection becomes an object. Higher adds fewer false objects. 0 '
        'also uses detections without a score.',
        live=True,
        limits=(0.0, 1.0),
    )
    detection_coordinates: str = parameter(
        PIXELS,
        'What the boxes of ~/detections are measured in: pixels of the images, normalized (0 to 1 '
        'over the image), or pixels of the images of the detector, given by their size, such as '
        '640x480.',
        live=True,
        check=wrong_coordinates,
    )
    detection_box_iou: float = parameter(
        0.4,
        'A detection belongs to a tracked object if the intersection over union of their boxes is '
        'at least this. Higher adds more objects, some of them twice.',
        live=True,
        limits=(0.05, 1.0),
    )
    detection_mask_iou: float = parameter(
        0.4,
        'A detection also belongs to a tracked object if the intersection over union of its box '
        'and the mask of the object is at least this.',
        live=True,
        limits=(0.05, 1.0),
    )
    detection_confirm: int = parameter(
        2,
        'Consecutive messages that must contain a new object before it is added. Higher rejects '
        'flickering detections and adds objects later.',
        live=True,
        limits=(1, 100),
    )
    detection_cooldown: float = parameter(
        1.0,
        'Seconds after a prompt from a detection without another one at the same place.',
        live=True,
        limits=(0.0, 60.0),
    )
    detection_reprompt: bool = parameter(
        True,
        'A detection at the last position of a lost object of the same name prompts that object '
        'again, under its id. Off, it adds a new object.',
        live=True,
    )
    time_jump: float = parameter(
        1.0,
        'Seconds by which stamps must jump back to count as a new recording (a bag that '
        'loops): objects stay and the clock restarts. An image that is late by less is dropped. '
        'One that is ahead by more, beyond the time that passed, is dropped too, unless the '
        'image before it was, with an earlier stamp. '
        'A prompt that is further ahead of the images than this is refused.',
        live=True,
        limits=(0.0, 3600.0),
    )
    image_timeout: float = parameter(
        2.0,
        'Seconds without an image, or of processing one image, after which /diagnostics warns; '
        'after five times as long it reports an error.',
        live=True,
        limits=(0.1, 3600.0),
    )
    max_age_warn: float = parameter(
        1.0,
        'Seconds from the stamp of an image to its results (95th percentile of ten seconds) above '
        'which /diagnostics warns; above five times that, it reports an error. 0: never.',
        live=True,
        limits=(0.0, 3600.0),
    )
    min_rate_warn: float = parameter(
        1.0,
        'Tracked images per second below which /diagnostics warns; below a fifth of that, it '
        'reports an error. 0: never.',
        live=True,
        limits=(0.0, 1000.0),
    )
    max_dropped_warn: float = parameter(
        0.9,
        'Share of images that are dropped for a newer one above which /diagnostics warns. A '
        'tracker at 10 Hz drops 0.67 of a 30 Hz camera. 0: never.',
        live=True,
        limits=(0.0, 1.0),
    )

    @property
    def max_pixels(self) -> int:
        """Most pixels of an image, a depth image or a mask."""
        return self.max_image_megapixels * 1_000_000

    @property
    def second_model(self) -> str:
        """Name of the further model; empty: there is none."""
        return self.segment_model or self.prompt_model

    def conflict(self) -> str | None:
        """Return which values are inconsistent, or None."""
        if self.prompt_model and self.prompt_model != self.second_model:
            return (
                f'segment_model is {self.segment_model} and prompt_model {self.prompt_model}: '
                'only one further model can be open'
            )
        if 0 < self.remove_after < self.lost_after:
            return (
                f'remove_after is {self.remove_after:g} s, but an object must be lost before it '
                f'is removed: lost_after is {self.lost_after:g} s. 0 never removes'
            )
        if self.depth_min >= self.depth_max:
            return (
                f'depth_min is {self.depth_min:g} m and depth_max {self.depth_max:g} m: no depth '
                f'is between them'
            )
        return None


PARAMETERS = tuple(
    Parameter(entry.name, cast('Any', entry.default), **entry.metadata)
    for entry in fields(Parameters)
)
"""The definitions, in the order of the documentation."""


def tracker_options(parameters: Parameters) -> TrackerOptions:
    """Return the options of the tracker: those that parameters of the same name set."""
    values = vars(parameters)
    given = {one.name: values[one.name] for one in fields(TrackerOptions) if one.name in values}
    given['remove_after'] = parameters.remove_after or None  # a parameter cannot be None
    return TrackerOptions(**given)


def weights_to_open(parameters: Parameters, given: str | None = None) -> str | None:
    """Return the weights to open a model with; None: those of the catalogue.

    Args:
        parameters: of the node.
        given: another value than that of the parameter `weights`.

    Raises:
        tam_ros.regular_file.UnsuitableFileError: they are not in `allowed_weights_dir`.
        OSError: they cannot be read.
    """
    wanted = parameters.weights if given is None else given
    if not wanted or not parameters.allowed_weights_dir:
        return wanted or None
    # Opened by the path that was checked, so that a link cannot be replaced in between.
    return str(resolve_inside(wanted, parameters.allowed_weights_dir))
