# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: one table, from which they are declared, checked and documented."""

from __future__ import annotations

import importlib.util

from tam_ros.prompting.clicks import MODES
from tam_ros.ros.calibration import RECTIFIED
from tam_ros.ros.parameter import Parameter
from tam_ros.runtime.backends import AUTO, BACKEND_PRECISIONS, RUNTIMES
from tam_ros.runtime.engine_options import BUILD
from tam_ros.tracking.options import RESIZE_FILTERS


def _not_blank(text: str) -> str | None:
    return None if text.strip() else 'must not be empty'


def _needs_tf2_msgs(value: bool) -> str | None:
    if value and importlib.util.find_spec('tf2_msgs') is None:
        return 'needs tf2_msgs, which is not installed here (ros-$ROS_DISTRO-tf2-msgs)'
    return None


PARAMETERS = (
    Parameter(
        'model',
        'efficienttam_nano',
        'Model, a name of the catalogue (engines/models.yaml).',
        check=_not_blank,
    ),
    Parameter(
        'weights',
        '',
        'Checkpoint file or folder of exported graphs. Empty: what is bundled or downloaded.',
    ),
    Parameter(
        'runtime',
        'onnxruntime',
        'What runs the model.',
        choices=tuple(RUNTIMES),
    ),
    Parameter(
        'precision',
        'auto',
        'What the runtime computes in. auto: its first choice, which is half precision with '
        'tensorrt. What the runtime cannot do is refused, never replaced.',
        choices=(AUTO, *sorted({one for row in BACKEND_PRECISIONS.values() for one in row})),
    ),
    Parameter(
        'build_engines',
        'never',
        'Whether tensorrt engines that are missing are built when the node configures, which '
        'takes minutes. never: `ros2 run tam_ros build_engines` has built them before.',
        choices=BUILD,
    ),
    Parameter(
        'zero_copy',
        False,
        'With tensorrt, images and masks stay in memory that host and GPU share. Saves copies on '
        'a Jetson, costs time on a graphics card.',
    ),
    Parameter(
        'cuda_graphs',
        False,
        'With tensorrt, launch the kernels of an engine all at once, which costs the processor '
        'less. Off: what it saves was not measured on a device yet.',
    ),
    Parameter(
        'threads',
        0,
        'CPU threads of the runtime. 0: the library chooses.',
        limits=(0, 256),
    ),
    Parameter(
        'max_objects',
        16,
        'Objects that can be followed at once. Room for all of them is allocated beforehand.',
        limits=(1, 255),
    ),
    Parameter(
        'lost_after',
        2.0,
        'Seconds out of sight after which an object is called lost instead of occluded.',
        live=True,
        limits=(0.0, 3600.0),
    ),
    Parameter(
        'resize',
        'opencv',
        'How images are brought to the size of the model. opencv is several times faster; pil is '
        'the filter of the published numbers, which `tam` uses on recordings.',
        choices=RESIZE_FILTERS,
    ),
    Parameter(
        'refined_frames_condition',
        True,
        'Remember corrections of a followed object for good. Off, they fade after six images, as '
        'in the official predictor.',
        live=True,
    ),
    Parameter(
        'skip_occluded_memories',
        False,
        'Images on which an object is not seen leave no memory of it, so that what it looked like '
        'survives a long absence. Off, they are remembered as empty, as in the official '
        'predictor.',
        live=True,
    ),
    Parameter(
        'remove_after',
        0.0,
        'Seconds out of sight after which an object is removed. 0: never; else at least '
        'lost_after.',
        live=True,
        limits=(0.0, 86400.0),
    ),
    Parameter(
        'autostart',
        True,
        'Configure and activate at start. False: wait for a lifecycle manager.',
    ),
    Parameter(
        'keep_objects',
        True,
        'Keep the objects when the node is deactivated, to follow them on afterwards. Off, they '
        'are forgotten as by ~/reset.',
        live=True,
    ),
    Parameter(
        'image_transport',
        'raw',
        'Type of the `image` topic: raw is sensor_msgs/Image, compressed is CompressedImage.',
        choices=('raw', 'compressed'),
    ),
    Parameter(
        'qos_reliability',
        'best_effort',
        'Quality of service asked of `image` and `depth`. reliable only meets reliable '
        'publishers.',
        choices=('best_effort', 'reliable'),
    ),
    Parameter(
        'publish_masks',
        False,
        'Fill TrackedObject.mask_png, which shows what overlaps hide in the label image.',
        live=True,
    ),
    Parameter(
        'publish_tf',
        False,
        'Publish a TF frame for every object whose position is known, a child of the frame of the '
        'images. Needs tf2_msgs.',
        live=True,
        check=_needs_tf2_msgs,
    ),
    Parameter(
        'depth_tolerance',
        0.02,
        'Seconds that the stamps of an image and its depth image may differ. Higher serves '
        'cameras that do not take them together, and gets moving objects wrong.',
        live=True,
        limits=(0.0, 10.0),
    ),
    Parameter(
        'depth_wait',
        0.03,
        'Seconds that the results of a tracked image wait at most for its depth image to come. '
        'Higher serves depth that is computed slowly, and costs rate. 0: not at all.',
        live=True,
        limits=(0.0, 5.0),
    ),
    Parameter(
        'depth_min',
        0.1,
        'Metres; depth that is not beyond that is taken for a fault of the sensor.',
        live=True,
        limits=(0.0, 1000.0),
    ),
    Parameter(
        'depth_max',
        10.0,
        'Metres; depth that is not nearer than that is taken for one, too.',
        live=True,
        limits=(0.0, 1000.0),
    ),
    Parameter(
        'depth_erosion',
        1,
        'Pixels that are taken off the edge of a mask before its depth is looked at. Higher keeps '
        'out what is behind the object where masks are too large, and loses thin parts.',
        live=True,
        limits=(0, 50),
    ),
    Parameter(
        'prompt_history_seconds',
        2.0,
        'Seconds for which tracked images are kept, at most 30 of them, so that a prompt is '
        'applied to the very image it was made on. Higher serves slower operators and takes '
        'memory: at 384 pixels 1.0 MB an image and 0.15 MB for each object, at 512 2.9 and 0.26, '
        'at 1024 11.5 and 1.05. 0: prompts are applied to the next image.',
        limits=(0.0, 60.0),
    ),
    Parameter(
        'catch_up',
        4,
        'Images replayed at most, between two new ones, to bring a late prompt to the present. '
        'Higher shows its object sooner, lower keeps the rate steadier.',
        live=True,
        limits=(2, 60),
    ),
    Parameter(
        'click_mode',
        'auto',
        'What a click on ~/click or clicked_point means; see "Clicks" above. ~/set_click_mode '
        'changes it, too.',
        live=True,
        choices=MODES,
    ),
    Parameter(
        'click_window',
        3.0,
        'Seconds after a click within which the next one corrects the same object, in the mode '
        'auto. Higher leaves more time for corrections, lower lets objects be added faster.',
        live=True,
        limits=(0.0, 60.0),
    ),
    Parameter(
        'rectified',
        'auto',
        'Whether the images are undistorted already, so that P of camera_info describes them, or '
        'not, so that K and D do. auto: they are if their topic has the word rect in its name, as '
        'image_rect.',
        live=True,
        choices=RECTIFIED,
    ),
    Parameter(
        'detection_classes',
        '',
        'Classes of ~/detections that become objects, with commas between: "person, cup". '
        'Empty: all.',
        live=True,
    ),
    Parameter(
        'detection_min_score',
        0.5,
        'Score from which on a detection becomes an object. Higher adds fewer wrong ones.',
        live=True,
        limits=(0.0, 1.0),
    ),
    Parameter(
        'detection_box_iou',
        0.4,
        'A detection is an object that is followed already if the intersection over union of '
        'their boxes reaches this. Higher adds more objects, close ones twice.',
        live=True,
        limits=(0.05, 1.0),
    ),
    Parameter(
        'detection_mask_iou',
        0.4,
        'The same for the box of a detection and the mask of an object; either will do.',
        live=True,
        limits=(0.05, 1.0),
    ),
    Parameter(
        'detection_confirm',
        2,
        'Messages in a row that must show a new object before it is added. Higher keeps '
        'flickering detections out and adds objects later.',
        live=True,
        limits=(1, 100),
    ),
    Parameter(
        'detection_cooldown',
        1.0,
        'Seconds after a prompt from a detection during which none is made at the same place.',
        live=True,
        limits=(0.0, 60.0),
    ),
    Parameter(
        'detection_reprompt',
        True,
        'A detection where a lost object of the same name was seen last begins that one anew, '
        'under its id. Off, it is a new object.',
        live=True,
    ),
    Parameter(
        'time_jump',
        1.0,
        'Stamps that go back by more than this many seconds start a new recording (a bag that '
        'loops): objects stay and the clock starts again. Less is a late image, which is dropped. '
        'A prompt further ahead of the images than this is refused.',
        live=True,
        limits=(0.0, 3600.0),
    ),
    Parameter(
        'image_timeout',
        2.0,
        'Seconds without an image, or of work on a single one, after which /diagnostics warns; '
        'after five times as long it reports an error.',
        live=True,
        limits=(0.1, 3600.0),
    ),
    Parameter(
        'max_age_warn',
        1.0,
        'Seconds from the stamp of an image to its results, 95th percentile of ten seconds, above '
        'which /diagnostics warns; above five times as many it reports an error. 0: never.',
        live=True,
        limits=(0.0, 3600.0),
    ),
    Parameter(
        'min_rate_warn',
        1.0,
        'Tracked images a second below which /diagnostics warns; below a fifth of it, it reports '
        'an error. 0: never.',
        live=True,
        limits=(0.0, 1000.0),
    ),
    Parameter(
        'max_dropped_warn',
        0.9,
        'Share of the images that a newer one may replace before they are tracked; above it '
        '/diagnostics warns. A tracker at 10 Hz behind a camera of 30 Hz drops 0.67. 0: never.',
        live=True,
        limits=(0.0, 1.0),
    ),
)
