"""Tiny data sets in their owners' layouts: exact names and label files, pictures of a few bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.io import savemat

from agewise.data.manifest import read_manifest
from agewise.data.sources.importing import Imported, import_source

PICTURE = b"\xff\xd8\xff\xe0 a picture that no import opens"


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PICTURE + name.encode())


def text(root: Path, name: str, *lines: str, encoding: str = "utf-8") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))


def imported(source: str, root: Path, out: Path | None = None, embed: bool = False, **options: str) -> Any:
    """Rows by picture's name (where a name is there once), reasons by picture, and what import returned."""
    target = out or root.parent / f"{source}-{'-'.join(options.values())}.parquet".replace("/", "_")
    done = import_source(source, root, target, options, embed=embed)
    rows = read_manifest(target).to_pylist()
    for row in rows:
        path = Path(row["image"]["path"])
        row["name"] = path.relative_to(root.resolve()).as_posix() if path.is_absolute() else path.as_posix()
    return Result(rows, done)


class Result:
    def __init__(self, rows: list[dict[str, Any]], done: Imported) -> None:
        self.rows = rows
        self.by_name = {row["name"]: row for row in rows}
        self.reasons = dict(done.skipped)
        self.remarks = done.remarks

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self.by_name[name]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]


def vggface2(root: Path) -> None:
    names = [f"n{person:06d}/{face:04d}_01.jpg" for person in range(2, 15) for face in (1, 2)]
    pictures(root, *(f"train/{name}" for name in names), "test/n000001/0019_01.jpg")
    boxes = [f"0, 0, {name}, {name[1:7]}, 10, 20, 30, 40, 0.9" for name in names]
    text(root, "annotations/train.detected.csv", *boxes, "0,0,n000099/0001_01.jpg,000099,1,2,3,4")
    text(root, "annotations/train.age_detected.csv", *(f"{name}, {20 + n / 8}" for n, name in enumerate(names)))
    text(root, "annotations/test.detected.csv", "0,0,n000001/0019_01.jpg,000001,5,6,7,8")
    text(root, "annotations/test.age_detected.csv", "n000001/0019_01.jpg,61.25")
    people = [f'n{person:06d}, "Name, {person}", 300, 1, {"mf"[person % 2]}' for person in range(1, 15)]
    text(root, "annotations/identity_meta.csv", "Class_ID, Name, Sample_Num, Flag, Gender", *people)


def datenum(year: int, month: int, day: int) -> float:
    """MATLAB's number of a day, counted from the year 0."""
    return float(date(year, month, day).toordinal() + 366)


def mat_cells(values: list[str]) -> np.ndarray[Any, Any]:
    """A 1 x N cell array of texts."""
    cells = np.empty((1, len(values)), dtype=object)
    cells[0] = values
    return cells


def faces_mat(root: Path, part: str, faces: list[dict[str, Any]]) -> None:
    """imdb.mat or wiki.mat of faces, each with a path and what differs from a good one."""
    good = {"dob": datenum(1960, 3, 5), "photo_taken": 2000, "gender": 1.0, "name": "Somebody"}
    good |= {"face_location": [11.0, 21.0, 60.0, 80.0], "face_score": 3.5, "second_face_score": float("nan")}
    full = [good | face for face in faces]
    columns: dict[str, Any] = {"full_path": mat_cells([face["full_path"] for face in full])}
    columns["name"] = mat_cells([face["name"] for face in full])
    boxes = np.empty((1, len(full)), dtype=object)
    for index, face in enumerate(full):
        boxes[0, index] = np.array([face["face_location"]])
    columns["face_location"] = boxes
    for name in ("dob", "photo_taken", "gender", "face_score", "second_face_score"):
        columns[name] = np.array([[face[name] for face in full]], dtype=np.float64)
    (root / part).mkdir(parents=True, exist_ok=True)
    savemat(root / part / f"{part}.mat", {part: columns}, oned_as="row")


def imdb_wiki(root: Path) -> None:
    people = [{"full_path": f"01/nm{n:07d}_rm1_1960-3-5_2000.jpg", "name": f"Person {n}"} for n in range(12)]
    bad: list[dict[str, Any]] = [
        {"full_path": "02/nm1_rm1_1960-0-0_2000.jpg"},
        {"full_path": "02/nm1_rm2_1960-3-5_2000.jpg", "face_score": float("-inf")},
        {"full_path": "02/nm1_rm3_1960-3-5_2000.jpg", "second_face_score": 2.5},
        {"full_path": "02/nm1_rm4_1960-3-5_1900.jpg", "photo_taken": 1900},
        {"full_path": "02/nm1_rm5_1960-3-5_2090.jpg", "photo_taken": 2090},
        {"full_path": "02/nm1_rm6_1960-3-5_2000.jpg", "dob": 2.0},
        {"full_path": "02/nm1_rm7_1960-3-5_2000.jpg", "name": ""},
        {"full_path": "02/nm1_rm8_1960-3-5_2000.jpg", "dob": float("nan")},
        {"full_path": "02/absent_1960-3-5_2000.jpg"},
    ]
    late = {"full_path": "03/nm2_rm1_1960-7-1_2000.jpg", "dob": datenum(1960, 7, 1), "name": "person 1", "gender": 0.0}
    faces_mat(root, "imdb", [*people, *bad, late])
    wiki = {"full_path": "10/100_1975-12-31_2009.jpg", "dob": datenum(1975, 12, 31), "photo_taken": 2009}
    faces_mat(root, "wiki", [{**wiki, "name": "PERSON 0", "gender": float("nan")}])
    kept = [face["full_path"] for face in [*people, *bad[:-1], late]]
    pictures(root, *(f"imdb/{name}" for name in kept), "wiki/10/100_1975-12-31_2009.jpg")


def imdb_clean(root: Path) -> None:
    header = "filename,age,gender,x_min,y_min,x_max,y_max,head_roll,head_yaw,head_pitch"
    for n, part in enumerate(("train", "valid", "test")):
        name = f"0{n}/nm000000{n}_rm{n}_1950-1-2_1990.jpg"
        text(root, f"csvs/imdb_{part}_new.csv", header, f"{name},{40 + n},{'MFM'[n]},1.5,2,30,40,-1,10.5,3")
        text(root, f"csvs/imdb_{part}_new_1024.csv", header, f"{name},{40 + n},{'MFM'[n]},5,6,7,8,-1,10.5,3")
        pictures(root, f"data/imdb/{name}", f"data/imdb-clean-1024/{name}")


def lfw(root: Path) -> None:
    pictures(root, "lfw/Ana_Li/Ana_Li_0001.jpg", "lfw/Ana_Li/Ana_Li_0002.jpg", "lfw/Bo_Ek/Bo_Ek_0001.jpg")
    pictures(root, "lfw/Cy/Cy_0001.jpg", "lfw/Cy/stray.jpg")
    text(root, "peopleDevTrain.txt", "1", "Ana_Li\t2")
    text(root, "peopleDevTest.txt", "1", "Bo_Ek\t1")


def lfw_plus(root: Path) -> None:
    pictures(root, "gender-access/lfw_cropped/Ana_Li_0001.jpg", "gender-access/lfw_cropped/child7.jpg")
    rows = ["1, 31.333333, Ana_Li_0001.jpg", "0, 6.666667, child7.jpg", "0, 40, Absent_0001.jpg", "0, 41"]
    text(root, "gender-access/lfw_theirs.csv", *rows)


def appa_real(root: Path) -> None:
    for n, part in enumerate(("train", "valid", "test")):
        name = f"00000{n}.jpg"
        means = "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age"
        text(root, f"gt_avg_{part}.csv", means, f"{name},2,{20 + n}.5,0.70710678,{18 + n}")
        votes = "file_name,real_age,apparent_age,worker_age,worker_gender"
        lines = [f"{name},{18 + n},{20 + n},33,female", f"{name},{18 + n},{21 + n},50,male"]
        text(root, f"gt_{part}.csv", votes, *lines)
        pictures(root, f"{part}/{name}", f"{part}/{name}_face.jpg")


def lap2015(root: Path) -> None:
    text(root, "Train.csv", "image;mean;stdv", "image_1.jpg;31.5;4.25", "image_2.jpg;7;1.5", "image_9.jpg;50;5")
    text(root, "Valid/Reference.csv", "image_3.jpg;60.25;0")
    text(root, "Test/Reference.csv", "image_4.jpg;18;3.5", "image_5.jpg;18")
    text(root, "Reference.csv", "image_4.jpg;99;1")
    pictures(root, "Train/image_1.jpg", "Train/image_2.jpg", "Valid/image_3.jpg", "Test/image_4.jpg")


def adience(root: Path) -> None:
    header = "user_id original_image face_id age gender x y dx dy tilt_ang fiducial_yaw_angle fiducial_score"
    labels = {
        0: ["(0, 2)", "(25, 23)", "None", "35"],
        1: ["(60, 100)", "(38, 42)"],
        2: ["(8, 12)"],
        3: ["(8, 23)", "(15, 20)"],
        4: ["(48, 53)", "13"],
    }
    for fold, ages in labels.items():
        user = f"{fold}@N0{fold}"
        rows = [[user, f"{n}_o.jpg", str(n), age, "mfu"[n % 3], *["0"] * 7] for n, age in enumerate(ages)]
        if fold == 2:
            rows.append([user, "9_o.jpg", "9", "(4, 6)", "", *["0"] * 7])
        lines = ["\t".join(row) for row in [header.split(), *rows]]
        text(root, f"fold_{fold}_data.txt", *lines)
        text(root, f"fold_frontal_{fold}_data.txt", *lines[:2])
        pictures(root, *(f"faces/{row[0]}/coarse_tilt_aligned_face.{row[2]}.{row[1]}" for row in rows))
        pictures(root, *(f"aligned/{row[0]}/landmark_aligned_face.{row[2]}.{row[1]}" for row in rows))


def utkface(root: Path) -> None:
    pictures(root, "UTKFace/26_0_2_20170104023102422.jpg.chip.jpg", "UTKFace/100_1_0_20170110183726390.jpg")
    pictures(root, "UTKFace/39_1_20170116174525125.jpg.chip.jpg", "UTKFace/1_1_4_20161219.jpg")
    pictures(root, "UTKFace/24_0_1_20170116220224657 .jpg", "UTKFace/55_0_0_20170116232725357jpg")
    text(root, "landmark_list_part1.txt", "26_0_2_20170104023102422.jpg 1 2 3")


def fairface(root: Path) -> None:
    header = "file,age,gender,race,service_test"
    train = ["train/1.jpg,50-59,Male,East Asian,True", "train/2.jpg,03-Sep,Female,Latino_Hispanic,False"]
    train += ["train/3.jpg,Oct-19,Female,Black,False", "train/4.jpg,adult,Male,White,False"]
    train += ["train/1.jpg,50-59,Male,East Asian,True", "../secret.jpg,0-2,Male,White,False"]
    text(root, "fairface_label_train.csv", header, *train, encoding="utf-8-sig")
    text(
        root,
        "fairface_label_val.csv",
        header,
        "val/1.jpg,more than 70,Male,Middle Eastern,True",
        "val/2.jpg,0-2,Female,,",
    )
    pictures(root, *(f"train/{n}.jpg" for n in (1, 2, 3, 4)), "val/1.jpg", "val/2.jpg")


def fgnet(root: Path) -> None:
    pictures(root, "images/001A02.JPG", "images/001A43a.JPG", "images/002A03.JPG", "images/Thumbs.jpg")
    points = [f"{n + 0.5} {2 * n}" for n in range(68)]
    text(root, "points/001a02.pts", "version: 1", "n_points: 68", "{", *points, "}")
    text(root, "points/001a43a.pts", "version: 1", "n_points: 3", "{", *points[:3], "}")


def all_age_faces(root: Path) -> None:
    names = ["00000A02.jpg", "07380A45.jpg", "07381A80.jpg", "13321A100.jpg", "broken.jpg"]
    pictures(root, *(f"original images/{name}" for name in names), *(f"aligned faces/{name}" for name in names))
    text(root, "image sets/train.txt", "00000A02.jpg 0", "07381A80.jpg 1")
    text(root, "image sets/val.txt", "07380A45 0")


def morph2(root: Path) -> None:
    header = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo"
    rows = ["9055,0,06/29/1949,11/24/2003,B,M,-32768,54,0,-32768,Album2\\009055_0M54.JPG"]
    rows += ["9055,1,06/29/1949,11/24/2004,B,M,0,55,365,0,Album2/009055_1M55.JPG"]
    rows += ["5,0,01/01/1980,01/01/2004,W,F,0,24,0,0,Album1/000005_0F24.JPG"]
    rows += ["6,0,01/01/1980,01/01/2004,W,F,0,,0,0,Album1/000006_0F.JPG", "7,0,,,W,F,0,abc,0,0,Album1/000007_0F24.JPG"]
    text(root, "morph_2008_nonCommercial.csv", header, *rows)
    pictures(root, "Album2/009055_0M54.JPG", "Album2/009055_1M55.JPG", "Album1/000005_0F24.JPG")
    pictures(root, "Album1/000006_0F.JPG", "Album1/000007_0F24.JPG")


def agedb(root: Path) -> None:
    pictures(root, "0_MariaCallas_35_f.jpg", "1_MariaCallas_40_f.jpg", "10003_Penélope_Cruz_24_m.jpg", "odd_name.jpg")
    pictures(root, "9_MattDamon_200_m.jpg")


def cacd(root: Path) -> None:
    names = ["53_Robin_Williams_0001.jpg", "23_Penélope_Cruz_0002.jpg", "40_Ann_Lee_0001.jpg", "16_Bo_0001.jpg"]
    pictures(root, *(f"CACD2000/{name}" for name in names), "CACD2000/odd.jpg")
    ranks = np.array([[1.0], [5.0], [6.0]])
    data = {"name": mat_cells(names[:3]).T, "rank": ranks, "age": np.array([[53.0], [23.0], [40.0]])}
    savemat(root / "celebrity2000_meta.mat", {"celebrityImageData": data})


def afad(root: Path) -> None:
    pictures(root, "AFAD-Full/15/111/292943-0.jpg", "AFAD-Full/15/111/292943-1.jpg", "AFAD-Full/75/112/671487-0.jpg")
    pictures(root, "AFAD-Full/18/112/portrait.jpg", "AFAD-Full/cover.jpg")
    text(root, "AFAD-Full/AFAD-Full.txt", "./15/111/292943-0.jpg")


def megaage(root: Path) -> None:
    text(root, "list/train_name.txt", "1.jpg", "2.jpg")
    text(root, "list/train_age.txt", "30", "7")
    text(root, "list/train_dis.txt", "0 0.25 0.5 0.25 0", "0 0 1 0 0")
    text(root, "list/test_name.txt", "1.jpg", "5.jpg")
    text(root, "list/test_age.txt", "70", "8")
    pictures(root, "train/1.jpg", "train/2.jpg", "test/1.jpg")


def folder(root: Path) -> None:
    header = "File;Age;Gender;Person;Split;Race"
    rows = ["a.jpg;31,5;male;p1;training;x", "b.jpg;20-29;F;p2;val;", "c.jpg;;;p3;;", "d.jpg;70+;f;p4;test;y"]
    text(root, "labels.csv", header, *rows, "e.jpg;oldish;f;p5;test;y", "absent.jpg;3;f;p6;test;y")
    pictures(root, *(f"{letter}.jpg" for letter in "abcde"))


def huggingface(root: Path) -> None:
    classes = {"age": {"names": ["0-2", "3-9", "more than 70"], "_type": "ClassLabel"}}
    metadata = {"huggingface": f'{{"info": {{"features": {str(classes).replace(chr(39), chr(34))}}}}}'}
    for part, ages in (("train", [0, 2, 1]), ("validation", [1])):
        images = [{"bytes": PICTURE + bytes([n]), "path": f"{n}.jpg"} for n in range(len(ages))]
        if part == "train":
            images[2] = {"bytes": None, "path": None}
        table = pa.table({"image": images, "age": ages, "gender": ["Male"] * len(ages)})
        (root / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(metadata), root / f"data/{part}-00000-of-00001.parquet")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    write.__name__: write
    for write in (
        *(vggface2, imdb_wiki, imdb_clean, lfw, lfw_plus, appa_real, lap2015, adience, utkface, fairface),
        *(fgnet, all_age_faces, morph2, agedb, cacd, afad, megaage, folder, huggingface),
    )
}


def written(source: str, root: Path) -> Path:
    """A root with that data set in it."""
    root.mkdir(parents=True, exist_ok=True)
    LAYOUTS[source](root)
    return root


def table_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
