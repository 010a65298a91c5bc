"""What travels into a copy and what does not, by names and by what is in the files; and names that some file systems take for one."""

import io
import os
import tarfile
from base64 import b64encode
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_makers import fill, identity, picture

from ray_ue.sources import open_source
from ray_ue.sources.naming import one_line, readable, stems
from ray_ue.sources.sidecars import DISGUISED, HIDDEN, PLACES, TABLES, TEXTS, UNKNOWN, is_hidden, why_left_out
from ray_ue.sources.walk import CIRCLE, NOWHERE, SPECIAL
from ray_ue.stages.protect.summary import beside_lines

TRAVEL = ("cats/000.txt", "captions.csv", "metadata.jsonl", "cats/metadata.parquet", "README.md", "LICENSE", "boxes/000.xml", "000.json")
STAY = {
    "cats/000.jpg.json": PLACES,
    "IMG_1.HEIC.supplemental-metadata.json": PLACES,
    "IMG_1.jpg(2).json": PLACES,
    "originals.zip": "archives",
    "IMG_0001.mov": "video and sound",
    "clean.npy": "arrays and weights",
    "photos.db": "databases",
    "drawing.svg": "documents that may hold pictures",
    "notes.docx": "documents that may hold pictures",
    "id_rsa": UNKNOWN,
    "config.yaml": UNKNOWN,
}
HIDDEN_FILES = (".env", ".git/config", "cats/._000.jpg", "__MACOSX/cats/000.jpg", "a/@eaDir/000.jpg/thumb.jpg", "Thumbs.db", "a/.DS_Store")


@pytest.mark.parametrize("name", TRAVEL)
def test_known_sidecars_travel(name: str) -> None:
    assert not why_left_out(name)
    assert not is_hidden(name)


@pytest.mark.parametrize("name", STAY)
def test_what_nobody_asked_for_stays_for_a_reason(name: str) -> None:
    assert why_left_out(name) == STAY[name]


@pytest.mark.parametrize("name", HIDDEN_FILES)
def test_hidden_files_and_folders_of_tools_are_neither_images_nor_classes(name: str, tmp_path: Path) -> None:
    fill(tmp_path, {"cats/000.jpg": picture(0), name: picture(1)})
    source = open_source(str(tmp_path))
    assert source.files() == [("cats/000.jpg", len(picture(0)))]
    assert source.left_out() == [(name, HIDDEN)]
    assert source.class_names() == ["cats"]


def test_a_pattern_brings_what_would_be_left_out(tmp_path: Path) -> None:
    fill(tmp_path, {"a.jpg": picture(0), "b.yaml": b"x", ".c/d.jpg": picture(1), ".c/e": b"y", "f.mov": b"z"})
    source = open_source(str(tmp_path), carry=("*.yaml", ".c/*"))
    assert [name for name, _ in source.files()] == [".c/d.jpg", ".c/e", "a.jpg", "b.yaml"]
    assert source.left_out() == [("f.mov", "video and sound")]
    assert [file.path for shard in source.shards() for file in shard.files if file.is_image] == [".c/d.jpg", "a.jpg"]


def test_a_hidden_file_that_comes_or_goes_leaves_the_source_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path, {"a.jpg": picture(0)})
    before = open_source(str(tmp_path)).digest()
    fill(tmp_path, {".DS_Store": b"x", "a.jpg.json": b"{}"})
    assert open_source(str(tmp_path)).digest() == before


def test_pipes_circles_and_links_to_nowhere_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, {"a/1.jpg": picture(0)})
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "a/up").symlink_to(tmp_path / "a")
    source = open_source(str(tmp_path))
    assert source.left_out() == [("a/up", CIRCLE), ("gone.txt", NOWHERE), ("pipe.jpg", SPECIAL), ("self", CIRCLE)]


def test_a_folder_of_hidden_files_alone_says_so(tmp_path: Path) -> None:
    fill(tmp_path, {"._a.jpg": b"x"})
    with pytest.raises(ValueError, match=r"holds no files, only 1 hidden ones such as '\._a\.jpg'"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("pair", [("a.jpg", "A.png"), ("é.jpg", "e\u0301.jpg"), ("B/a.jpg", "b/a.jpg")])
def test_names_that_some_file_systems_take_for_one_are_kept_apart(pair: tuple[str, str]) -> None:
    import unicodedata

    folded = {unicodedata.normalize("NFC", stem).casefold() for stem in stems(list(pair), others=[])}
    assert len(folded) == 2


def test_names_that_are_no_unicode_stay_readable_and_are_told(tmp_path: Path) -> None:
    assert readable(os.fsdecode(b"caf\xe9.jpg")) == "café.jpg"
    assert readable("日本.jpg") == "日本.jpg"
    fill(tmp_path / "in", {"b.jpg": picture(1)})
    (tmp_path / "in" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(picture(0))
    source = open_source(str(tmp_path / "in"))
    assert source.renamed(".png") == [("caf\\udce9.jpg", "café.png")]
    for shard in source.shards():
        list(source.rewrite(shard, to=str(tmp_path / "out"), extension=".png", change=identity))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png", "café.png"]


def table(column: pa.Array) -> bytes:
    pq.write_table(pa.table({"file_name": ["a.jpg"], "more": column}), out := io.BytesIO())
    return out.getvalue()


DISGUISES = {
    "metadata.json": (b'{"title": "Berlin", "enrichments": [{"locationEnrichment": {"location": []}}]}', PLACES),
    "metadata(1).json": (b'{"title": "a.jpg", "geoDataExif": {"latitude": 52.5}}', PLACES),
    "people.json": (b'{"people": [ {"name": "Ada"} ]}', PLACES),
    "long.json": (b'{"a": "' + b"x" * (2**20 - 12) + b'", "geoData": {"latitude": 52.5}}', PLACES),
    "labelme.json": (b'{"imagePath": "a.jpg", "imageData": "' + b64encode(picture(3)) + b'"}', TEXTS),
    "page.md": (b"![](data:image/png;base64,iVBORw0KGgo" + b"A" * 400 + b")", TEXTS),
    "letters.txt": (b64encode(picture(3)), TEXTS),
    "exiftool.json": (b'[{"SourceFile": "a.jpg", "GPSPosition": "52 deg 30 N"}]', PLACES),
    "flat.json": (b'{"lat": 52.5, "lon": 13.4}', PLACES),
    "metadata.jsonl": (b'{"file_name": "a.jpg", "geoData": {"latitude": 52.5}}', PLACES),
    "track.xml": (b'<gpx><trkpt lat="52.5" lon="13.4"/></gpx>', PLACES),
    "exiftool.txt": (b"GPS Position                    : 48 deg 8' 13.75\" N, 11 deg 34' 34.05\" E\n", PLACES),
    "bare exiftool.txt": (b"48 deg 8' 13.50\" N, 11 deg 34' 34.05\" E", PLACES),
    "typed.txt": ("N 48° 8′ 13.5″ E 11° 34′".encode(), PLACES),
    "latin.txt": ("Grove, 48°8'13\" N".encode("latin-1"), PLACES),
    "track.json": (b'{"type": "Feature", "geometry": {"type": "Point", "coordinates": [11.576124, 48.137154]}}', PLACES),
    "journey.json": (b'{"geometry": {"coordinates": [' + b", ".join([b"[11.57, 48.13]"] * 60) + b'], "type": "LineString"}}', PLACES),
    "route.json": (b'{"geometry": {"coordinates": [[11.57, 48.13], [11.58, 48.14]], "type": "LineString"}}', PLACES),
    "bare.txt": (b"48.137154, 11.576124\n", PLACES),
    "short.csv": (b"file,gps_lat,gps_lng\na.jpg,48.1371,11.5761\n", PLACES),
    "gps.json": (b'{"gps":[48.137154,11.576124]}', PLACES),
    "row.jsonl": (b'{"file_name": "a.jpg", "Location": ["48.137154", "-11.576124", "520"]}\n', PLACES),
    "pair.csv": (b'file,position\na.jpg,"48.137154,11.576124"\n', PLACES),
    "b/where.csv": (b'file_name,"Latitude",longitude\na.jpg,52.5,13.4\n', PLACES),
    "b/wide.csv": ("file_name;Latitude;Longitude\na.jpg;52,5;13,4\n".encode("utf-16"), PLACES),
    "b/wide.txt": ('{"people": [{"name": "Erika"}]}'.encode("utf-16"), PLACES),
    "shared_album_comments.json": (b"{}", PLACES),
    "sneak.txt": (picture(3), DISGUISED),
    "sneak.json": (b"PK\x03\x04" + picture(3), DISGUISED),
    "metadata.parquet": (table(pa.array([picture(3)])), TABLES),
    "large/metadata.parquet": (table(pa.array([np.random.default_rng(0).bytes(2**21)])), TABLES),
    "b/metadata.parquet": (table(pa.array([{"bytes": picture(3)}])), TABLES),
    "c/metadata.parquet": (b"PAR1 not a table" + picture(3), DISGUISED),
}
HONEST = {
    "metadata.parquet": table(pa.array(["a caption"])),
    "captions.json": b'{"a.jpg": "people on a street, at some latitude"}',
    "broken/metadata.parquet": b"PAR1 not a table",
    "boxes.csv": b"file,x,y,w,h\na.jpg,48.137154,11.576124,20.5,31.25\n",
    "box.json": b'{"coordinates": [48.137154, 11.576124, 20.512, 31.251], "position": [48.137154, 11.576124], "coords": [48, 11]}',
    "flat.csv": b"file_name,flat\na.jpg,1\n",
    "yolo.txt": b"0 0.481371 0.115761 0.205000 0.312500\n",
    "shapes.json": b'{"type": "polygon", "points": [[11.57, 48.13], [11.58, 48.14]]}',
    "angle.txt": "turned by 30° in 5' of work, at 20 deg in the shade".encode(),
    "captions.csv": b"file_name,text\na.jpg,a latitude of 52.5\n",
    "caption.txt": b"a path such as /9j/ is no picture",
    "wide.txt": "a caption".encode("utf-16"),
    "empty.txt": b"",
}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_sidecar_is_what_its_name_says_or_stays(name: str, tmp_path: Path) -> None:
    data, why = DISGUISES[name]
    fill(tmp_path, {"a.jpg": picture(0), name: data})
    source = open_source(str(tmp_path), format="folder")
    assert source.left_out() == [(name, why)]
    assert [path for path, _ in source.files()] == ["a.jpg"]
    assert open_source(str(tmp_path), format="folder", carry=(name,)).left_out() == []


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_sidecar_travels(name: str, tmp_path: Path) -> None:
    fill(tmp_path, {"a.jpg": picture(0), name: HONEST[name]})
    assert open_source(str(tmp_path), format="folder").left_out() == []


def test_a_pattern_that_fits_no_file_is_told(tmp_path: Path) -> None:
    fill(tmp_path, {"a.jpg": picture(0), "b.yaml": b"x"})
    assert "carry" not in beside_lines(open_source(str(tmp_path), carry=("*.yaml",)))
    assert beside_lines(open_source(str(tmp_path), carry=("*.yaml", "../x")))["carry"] == "no file fits '../x'"


def test_archives_beside_images_are_left_out_and_told(tmp_path: Path) -> None:
    fill(tmp_path, {"a.jpg": picture(0), "originals.zip": b"PK", "more.tar.gz": b"x"})
    source = open_source(str(tmp_path))
    assert source.format == "folder"
    assert source.left_out() == [("more.tar.gz", "archives"), ("originals.zip", "archives")]


def test_what_packed_files_hold_besides_images_is_told(tmp_path: Path) -> None:
    rows = {"image": [picture(0)], "label": [0], "caption": ["a cat"], "thumbnail_of": ["b"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    assert open_source(str(tmp_path / "a.parquet")).unchanged() == ["caption", "thumbnail_of"]
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for name, data in {"0.jpg": picture(0), "0.cls": b"1", "0.mp4": b"film", "1.jpg": picture(1), "1.json": b"{}"}.items():
            (info := tarfile.TarInfo(name)).size = len(data)
            tar.addfile(info, io.BytesIO(data))
    source = open_source(str(tmp_path / "b.tar"))
    assert source.unchanged() == [".cls", ".json", ".mp4"]
    assert "besides images goes with them, unread (in the first files: .cls, .json, .mp4)" in beside_lines(source)["packed"]


def test_a_name_in_a_list_is_one_line_and_steers_no_terminal() -> None:
    assert one_line("new\nline\x1b[31m.jpg") == "new\\nline\\x1b[31m.jpg"
    assert one_line("café 日本.jpg") == "café 日本.jpg"
